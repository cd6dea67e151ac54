"""The secrets and roles of an installation."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headrace_kit.config.ports import SERVICES
from headrace_kit.install import secrets
from headrace_kit.install.kube import Kube, KubeError
from headrace_kit.rpc import Identity
from headrace_kit.rpc.identity import Signer, Verifier

SECRETS = "/api/v1/namespaces/platform/secrets"


class ApiServer(ThreadingHTTPServer):
    """As much of one as Secrets need."""

    def __init__(self) -> None:
        self.kept: dict[str, dict] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuses: list[int] = []
        self.late: dict[str, dict] = {}
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def _any(self) -> None:
        server, name = self.server, self.path.removeprefix(SECRETS).strip("/")
        server.asked.append((self.command, name))
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
        assert self.headers["authorization"] == "Bearer token-1"
        if server.refuses:
            self._answer(server.refuses.pop(0), {"message": "no: ask the administrator"})
        elif self.command == "GET":
            self._answer(200 if name in server.kept else 404, server.kept.get(name, {"message": "not found"}))
        elif self.command == "POST":
            name = body["metadata"]["name"]
            server.kept |= {key: server.late.pop(key) for key in list(server.late)}
            self._answer(409 if name in server.kept else 201, server.kept.setdefault(name, body))
        else:
            assert self.headers["content-type"] == "application/merge-patch+json"
            server.kept[name]["data"] |= body["data"]
            self._answer(200, server.kept[name])

    do_GET = do_POST = do_PATCH = _any

    def _answer(self, status: int, body: dict) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api():
    server = ApiServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def kube(api, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("token-1\n")
    monkeypatch.setattr("headrace_kit.install.kube._PAUSE_S", 0)
    return Kube(api.url, "platform", tmp_path)


def wanted(have):
    return secrets.missing(have, postgres="pg:5432", valkey="vk:6379", admin=True)


def test_secrets_are_made_once(api, kube):
    added = secrets.keep(kube, "generated", wanted, {"app": "headrace"})
    assert added == [
        "bootstrap-admin-key", "guardrails-key", "postgres-admin-dsn", "postgres-app-password", "postgres-dsn",
        "postgres-owner-password", "postgres-superuser-dsn", "postgres-superuser-password", "tracing-key",
        "valkey-password", "valkey-url",
    ]  # fmt: skip
    assert api.kept["generated"]["metadata"]["labels"] == {"app": "headrace"}
    have = kube.secret("generated")
    assert have is not None
    word = have["postgres-app-password"].decode()
    assert have["postgres-dsn"].decode() == f"postgresql://headrace_app:{word}@pg:5432/headrace"
    assert have["valkey-url"].decode() == f"redis://:{have['valkey-password'].decode()}@vk:6379/0"
    assert secrets.keep(kube, "generated", wanted, {}) == []
    assert kube.secret("generated") == have


def test_what_is_there_stays_and_what_is_missing_is_added(api, kube):
    mine = base64.b64encode(b"p@ss/word").decode()
    api.kept["generated"] = {"data": {"postgres-app-password": mine, "other": mine}}
    added = secrets.keep(kube, "generated", wanted, {})
    have = kube.secret("generated")
    assert "postgres-app-password" not in added
    assert have["other"] == b"p@ss/word"
    assert have["postgres-dsn"] == b"postgresql://headrace_app:p%40ss%2Fword@pg:5432/headrace"


def test_only_what_is_ours_to_make_is_made(kube):
    added = secrets.keep(
        kube, "generated", lambda have: secrets.missing(have, postgres=None, valkey=None, admin=True), {}
    )
    assert added == ["bootstrap-admin-key", "guardrails-key", "tracing-key"]


def test_of_two_that_make_the_secret_at_once_one_wins(api, kube):
    other = {"bootstrap-admin-key": base64.b64encode(b"theirs").decode()}
    api.late["generated"] = {"data": other}
    secrets.keep(kube, "generated", wanted, {})
    assert kube.secret("generated")["bootstrap-admin-key"] == b"theirs"
    assert kube.secret("generated").keys() == wanted({}).keys()


def test_signing_keys_fit_together(kube, tmp_path):
    added = secrets.keep(kube, "signing", lambda have: secrets.signing_keys(), {})
    assert added == sorted([*(f"{service}.pem" for service in SERVICES), "jwks.json"])
    for key, value in kube.secret("signing").items():
        (tmp_path / key).write_bytes(value)
    token = Signer("gateway", tmp_path).token(Identity("gateway"), "inference")
    assert Verifier("inference", tmp_path).identity(token).service == "gateway"


def test_an_api_server_that_is_away_is_tried_again(api, kube):
    api.refuses = [503, 429, 500]
    assert kube.secret("generated") is None
    assert len(api.asked) == 4


def test_a_refusal_says_what_was_asked_and_what_was_answered(api, kube):
    api.refuses = [403]
    with pytest.raises(KubeError, match=r"GET .*/secrets/generated: no: ask the administrator"):
        kube.secret("generated")


def test_outside_of_a_pod_it_says_so(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeError, match="not a pod"):
        Kube.in_cluster()
