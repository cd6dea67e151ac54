"""Idempotency keys: one request is served, the others get its answer."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from headrace_gateway.fakes import FakeClaims, Script
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.idempotency.once import Ask, Once
from headrace_gateway.idempotency.recording import Head
from headrace_kit.config.services import Idempotency
from headrace_kit.errors import BadInput, Conflict, NotReady, Upstream

HI = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"idempotency-key": "k-1"}
WORD = "x-headrace-idempotency"


@contextlib.asynccontextmanager
async def client(rig, key="hr_dev"):
    transport = httpx.ASGITransport(AsgiFace(rig.application()))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as made:
        yield made


async def chat(http, body=HI, headers=KEY):
    return await http.post("/v1/chat/completions", json=body, headers=headers)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_gets_the_same_bytes(rig, stream):
    body = {**HI, "stream": stream}
    async with client(rig) as http:
        first, again = await chat(http, body), await chat(http, body)
    assert (first.status_code, first.headers[WORD]) == (200, "new")
    assert (again.status_code, again.headers[WORD]) == (200, "replayed")
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert first.headers["x-headrace-request-id"] == again.headers["x-headrace-request-id"]
    assert len(rig.engine.calls) == len(rig.closed()) == 1
    assert [left.status for left in rig.left] == [200, 200] and rig.in_flight.total == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "plain", "prompt": "x"}),
        ("/v1/embeddings", {"model": "minilm", "input": "x"}),
        ("/v1/rerank", {"model": "reranker", "query": "x", "documents": ["a", "bb"]}),
    ],
)
async def test_other_shapes_repeat_too(rig, path, body):
    async with client(rig) as http:
        first, again = [await http.post(path, json=body, headers=KEY) for _ in range(2)]
    assert first.status_code == 200 and first.content == again.content and again.headers[WORD] == "replayed"
    assert len(rig.closed()) == 1


async def test_repeats_at_one_time_wait_for_the_one_that_is_served(rig):
    rig.engine.scripts["small"] = [Script(["a", "b"], hang=True), Script(["other"])]
    body = {**HI, "stream": True}
    async with client(rig) as http:
        asked = [asyncio.create_task(chat(http, body)) for _ in range(3)]
        await rig.engine.hanging.wait()
        rig.engine.resume.set()
        first, *others = [await task for task in asked]
    assert b'"b"' in first.content and all(other.content == first.content for other in others)
    assert sorted(answer.headers[WORD] for answer in [first, *others]) == ["new", "replayed", "replayed"]
    assert len(rig.engine.calls) == 1


async def test_without_a_key_every_request_is_served(rig):
    async with client(rig) as http:
        first, again = await chat(http, headers={}), await chat(http, headers={})
    assert first.json()["id"] != again.json()["id"] and WORD not in first.headers
    assert not rig.claims.values


async def test_the_same_key_for_something_else_is_refused(rig):
    async with client(rig) as http:
        await chat(http)
        other = await chat(http, {**HI, "temperature": 1})
        elsewhere = await http.post("/v1/completions", json={"model": "plain", "prompt": "x"}, headers=KEY)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert elsewhere.status_code == 409
    assert len(rig.engine.calls) == 1 and rig.in_flight.total == 0


async def test_keys_are_a_tenants_own_and_rights_are_part_of_the_question(rig):
    async with client(rig) as http, client(rig, "hr_narrow") as narrow, client(rig, "hr_asserting") as asserting:
        first, other = await chat(http), await chat(narrow)
        assert first.status_code == other.status_code == 200 and first.content != other.content
        assert (await chat(asserting)).status_code == 409
        assert (await chat(asserting, headers={**KEY, "x-headrace-user": "ada"})).status_code == 409


@pytest.mark.parametrize("key", ["a b", "\u00e9", "x" * 256])
async def test_what_is_no_key_is_refused(rig, key):
    async with client(rig) as http:
        answer = await chat(http, headers={"idempotency-key": key.encode()})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")


async def test_a_failure_is_not_kept(rig):
    rig.engine.scripts["small"] = [
        Script((), error=Upstream("away")),
        Script(["half"], error=Upstream("away")),
        Script(),
    ]
    body = {**HI, "stream": True}
    async with client(rig) as http:
        assert (await chat(http, body)).status_code == 502
        broken = await chat(http, body)
        assert broken.status_code == 200 and b'"error"' in broken.content
        good = await chat(http, body)
    assert good.headers[WORD] == "new" and good.content.endswith(b"[DONE]\n\n")
    assert rig.in_flight.total == 0


async def test_bad_input_is_not_kept(rig):
    async with client(rig) as http:
        assert (await chat(http, {**HI, "temperature": 9})).status_code == 400
        assert (await chat(http)).status_code == 200


async def test_a_repeat_finds_what_its_caller_did_not_wait_for(rig):
    rig.engine.scripts["small"] = [Script(["a"], hang=True)]
    async with client(rig) as http:
        left = asyncio.create_task(chat(http))
        await rig.engine.hanging.wait()
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left
        assert rig.in_flight.total == 1 and not rig.left
        again = asyncio.create_task(chat(http))
        rig.engine.resume.set()
        answer = await again
    assert (answer.status_code, answer.headers[WORD]) == (200, "replayed")
    await until(lambda: rig.in_flight.total == 0)
    assert len(rig.engine.calls) == len(rig.closed()) == 1 and not rig.engine.calls[0].cancelled


async def test_draining_ends_what_is_served_for_nobody(rig):
    rig.engine.scripts["small"] = [Script(["a"], hang=True)]
    async with client(rig) as http:
        asked = asyncio.create_task(chat(http, {**HI, "stream": True}))
        await rig.engine.hanging.wait()
        draining = asyncio.create_task(rig.in_flight.drain())
        await asyncio.sleep(0)
        draining.cancel()
        answer = await asked
    assert b"draining" in answer.content and rig.in_flight.total == 0 and not rig.claims.values


async def test_another_replica_gives_the_answer_again(rig):
    async with client(rig) as http:
        first = await chat(http)
        rig.once = Once(rig.claims, Idempotency)
    async with client(rig) as there:
        again = await chat(there)
        assert (await chat(there, {**HI, "seed": 1})).status_code == 409
    assert (again.content, again.headers[WORD]) == (first.content, "replayed")
    assert len(rig.engine.calls) == 1


async def test_without_the_store_it_holds_within_a_replica_and_the_answer_says_so(rig):
    rig.claims.away = True
    async with client(rig) as http:
        first, again = await chat(http), await chat(http)
    assert (first.headers[WORD], again.headers[WORD]) == ("unshared", "replayed")
    assert first.content == again.content and len(rig.engine.calls) == 1


class Answers:
    """Makes answers, and counts."""

    def __init__(self):
        self.made = 0
        self.go = asyncio.Event()
        self.go.set()
        self.heard = []

    async def make(self, recording):
        await self.go.wait()
        self.made += 1
        recording.begin(Head(200, [], stream=True))
        for piece in (b"a", b"b" * 2000):
            recording.add(piece)
        recording.good = True

    async def ask(self, once, key="k", question=b"q"):
        recording, _ = once.join(Ask.of("t", key, [question]), self.make, self.heard.append)
        return [piece async for piece in recording.follow()]


async def patiently(_):
    await asyncio.sleep(0)


def replica(claims, **settings):
    return Once(claims, lambda: Idempotency(**settings), sleep=patiently)


async def test_replicas_wait_for_each_other():
    claims, answers = FakeClaims(), Answers()
    answers.go.clear()
    here, there = replica(claims), replica(claims)
    asked = [asyncio.create_task(answers.ask(once)) for once in (here, there, there)]
    await until(lambda: claims.values)
    for _ in range(20):
        await asyncio.sleep(0)
    answers.go.set()
    first, *others = [await task for task in asked]
    assert answers.made == 1 and all(other == first for other in others)


async def test_a_replica_takes_over_what_another_has_left():
    claims, answers = FakeClaims(), Answers()
    ask = Ask.of("t", "k", [b"q"])
    claims.values[ask.name] = b"W" + ask.fingerprint + b"crashed"
    waiting = asyncio.create_task(answers.ask(replica(claims)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert answers.made == 0
    del claims.values[ask.name]  # its lease has lapsed
    assert await waiting and answers.made == 1


async def test_a_store_that_goes_while_another_replica_is_at_work_is_told():
    claims, answers = FakeClaims(), Answers()
    ask = Ask.of("t", "k", [b"q"])
    claims.values[ask.name] = b"W" + ask.fingerprint + b"busy"
    waiting = asyncio.create_task(answers.ask(replica(claims)))
    for _ in range(20):
        await asyncio.sleep(0)
    claims.away = True
    with pytest.raises(NotReady) as caught:
        await waiting
    assert caught.value.code == "idempotency_unknown" and answers.made == 0 and len(answers.heard) == 1


async def test_an_answer_that_is_too_large_is_not_given_again_by_others():
    claims, answers = FakeClaims(), Answers()
    await answers.ask(replica(claims, max_answer_bytes=1024))
    await until(lambda: claims.values and not any(value.startswith(b"W") for value in claims.values.values()))
    with pytest.raises(Conflict) as caught:
        await answers.ask(replica(claims))
    assert caught.value.code == "idempotency_answer_too_large" and answers.made == 1


async def test_what_is_old_or_has_no_room_is_forgotten():
    now, answers = [0.0], Answers()
    claims = FakeClaims(away=True)
    once = Once(claims, lambda: Idempotency(ttl=10, memory_bytes=5000), clock=lambda: now[0], sleep=patiently)
    for key in "abc":
        await answers.ask(once, key)
    await answers.ask(once, "c")
    assert answers.made == 3
    await answers.ask(once, "a")  # only two fit
    assert answers.made == 4
    now[0] = 10.5
    await answers.ask(once, "a")
    assert answers.made == 5


async def test_a_claim_is_renewed_while_the_answer_is_made():
    claims, answers = FakeClaims(), Answers()
    renewed = asyncio.Event()

    async def renew(name, mark, lease_s):
        renewed.set()

    claims.renew = renew
    answers.go.clear()
    asking = asyncio.create_task(answers.ask(replica(claims)))
    async with asyncio.timeout(10):
        await renewed.wait()
    answers.go.set()
    assert await asking


def test_a_key_is_checked():
    for key in ("", "a b", "\n", "x" * 256):
        with pytest.raises(BadInput):
            Ask.of("t", key, [])
    assert Ask.of("t", "k", [b"a", b"b"]).fingerprint != Ask.of("t", "k", [b"ab"]).fingerprint
    assert Ask.of("t", "k", []).name != Ask.of("u", "k", []).name
