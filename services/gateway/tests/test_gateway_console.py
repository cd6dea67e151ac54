"""Sessions of the console: begun by key, ended with it, and nobody's when another site asks."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import pytest

from headrace_gateway.admission.identity import CHOOSE_ARM
from headrace_gateway.admission.sessions import AUDIENCE, SCHEME, Sessions
from headrace_gateway.context import Arrival
from headrace_gateway.http_api.console import ConsoleApi, session_of
from headrace_kit.errors import Unauthenticated
from headrace_kit.rpc import Identity
from headrace_kit.rpc.identity import Signer, Verifier, write_keys
from headrace_protos.tracing.v1 import console_pb2 as pb


class Asked:
    """A request of these headers and this body."""

    method, path, query = "GET", "/", ""

    def __init__(self, headers: dict[str, str], body: object = None) -> None:
        self._headers, self._body = headers, body

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    async def body(self, limit: int) -> bytes:
        return b"" if self._body is None else msgspec.json.encode(self._body)


class Life:
    seconds = 600.0


@pytest.fixture
def life() -> Life:
    return Life()


@pytest.fixture
def sessions(rig, tmp_path, life) -> Sessions:
    write_keys(tmp_path, ("gateway", "tracing", "rollout"))
    return Sessions(
        rig.ring,
        Signer("gateway", tmp_path),
        Verifier(AUDIENCE, tmp_path),
        lambda: life.seconds,
        Verifier("gateway", tmp_path),
    )


@pytest.fixture
def serve(rig, sessions):
    async def file(ctx: object, asked: pb.GetFileRequest) -> pb.GetFileResponse:
        return pb.GetFileResponse(body=f"{asked.path} {asked.gzip}".encode(), headers={"etag": asked.etag})

    routes = {(route.method, route.path): route for route in ConsoleApi(sessions, file).routes()}

    async def call(method: str, at: str, asked: Asked, **parameters: str):
        visit = rig.door.open(Arrival(route="GET /console"))
        return await routes[method, at].handler(visit, asked, parameters)

    return call


def _cookie(response) -> str:
    return dict(response.headers)["set-cookie"]


async def test_a_session_opens_the_door_and_its_cookie_holds_no_key(rig, sessions, serve):
    answer = await serve("POST", "/console/session", Asked({}, {"key": "hr_dev"}))
    assert answer.status == 201 and msgspec.json.decode(answer.body)["tenant"] == "dev"
    cookie = _cookie(answer)
    assert "hr_dev" not in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
    sent = Asked({"cookie": f"a=b; {cookie.split(';')[0]}", "x-headrace-console": "1"})
    assert sessions.authenticate(session_of(sent)) == rig.ring.by_secret("hr_dev")
    assert session_of(Asked({"cookie": cookie.split(";")[0]})) == "", "without the header it may be another site's"
    secure = await serve("POST", "/console/session", Asked({"x-forwarded-proto": "https"}, {"key": "hr_dev"}))
    assert "; Secure" in _cookie(secure)
    assert "Max-Age=0" in _cookie(await serve("DELETE", "/console/session", Asked({})))


@pytest.mark.parametrize("key", ["hr_nobody", "hr_revoked", "hr_expired"])
async def test_a_key_that_opens_nothing_begins_no_session(serve, key):
    with pytest.raises(Unauthenticated):
        await serve("POST", "/console/session", Asked({}, {"key": key}))


async def test_keys_open_the_door_as_before(sessions):
    assert sessions.authenticate("Bearer hr_dev").tenant == "dev"
    with pytest.raises(Unauthenticated):
        sessions.authenticate("Bearer hr_nobody")


async def test_a_session_ends_with_its_time_and_with_its_key(rig, sessions, life):
    began = await sessions.begin("hr_dev")
    key = began.key
    life.seconds = -10
    old = await sessions.begin("hr_dev")
    with pytest.raises(Unauthenticated, match="log in again"):
        sessions.authenticate(f"{SCHEME} {old.token}")
    rig.ring.update([replace(key, rotated_at=time.time() + 1)])
    with pytest.raises(Unauthenticated, match="replaced"):
        sessions.authenticate(f"{SCHEME} {began.token}")
    rig.ring.update([replace(key, revoked_at=1.0)])
    with pytest.raises(Unauthenticated, match="revoked"):
        sessions.authenticate(f"{SCHEME} {began.token}")


async def test_no_other_token_is_a_session(sessions, tmp_path):
    claims = {"iss": "tracing", "aud": AUDIENCE, "iat": 1, "exp": int(time.time()) + 60, "key": "bootstrap"}
    forged = Signer("tracing", tmp_path).sign({**claims, "iss": "gateway"})
    for token in (forged, Signer("gateway", tmp_path).token(Identity("gateway"), "tracing"), "x", "a.b.c"):
        with pytest.raises(Unauthenticated):
            sessions.authenticate(f"{SCHEME} {token}")


async def test_files_are_passed_on(serve):
    found = await serve(
        "GET", "/console/{path*}", Asked({"accept-encoding": "br, gzip;q=1", "if-none-match": '"e"'}), path="traces/1"
    )
    assert (found.status, found.body, dict(found.headers)) == (200, b"traces/1 True", {"etag": '"e"'})
    home = await serve("GET", "/console", Asked({}))
    assert home.status == 308 and dict(home.headers)["location"] == "/console/"


def test_rollout_comes_in_by_its_own_signature_and_may_choose_an_arm(sessions, tmp_path):
    token = Signer("rollout", tmp_path).token(Identity("rollout", "dev", "rollout"), "gateway")
    key = sessions.authenticate(f"Bearer {token}")
    assert (key.tenant, key.scopes) == ("dev", frozenset({CHOOSE_ARM}))


@pytest.mark.parametrize(
    ("service", "audience", "tenant"),
    [("tracing", "gateway", "dev"), ("rollout", "inference", "dev"), ("rollout", "gateway", "")],
)
def test_no_other_service_and_no_token_for_another_comes_in(sessions, tmp_path, service, audience, tenant):
    token = Signer(service, tmp_path).token(Identity(service, tenant), audience)
    with pytest.raises(Unauthenticated):
        sessions.authenticate(f"Bearer {token}")


def test_a_service_token_that_was_changed_is_refused(sessions, tmp_path):
    head, body, signature = Signer("rollout", tmp_path).token(Identity("rollout", "dev"), "gateway").split(".")
    flipped = "A" if signature[10] != "A" else "B"
    with pytest.raises(Unauthenticated):
        sessions.authenticate(f"Bearer {head}.{body}.{signature[:10]}{flipped}{signature[11:]}")
