"""Signs of life of streams that have nothing to say yet."""

from __future__ import annotations

import asyncio
import json

import pytest

from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.reply import KeepAlive, Reply
from headrace_kit.errors import Busy, Upstream
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

BODY = {"model": "plain", "messages": [{"role": "user", "content": "hi"}], "stream": True}
SIGN = b": keep-alive\n\n"


class GatedEngine:
    """Says what the test puts into its queue: a chunk, or an error to raise."""

    def __init__(self) -> None:
        self.says: asyncio.Queue = asyncio.Queue()

    async def generate(self, request, sent, *, whole):
        while True:
            chunk = await self.says.get()
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
            if chunk.finish_reason:
                return


@pytest.fixture
def gated(rig):
    """The rig with an engine that speaks when it is told to, and signs of life as often as can be."""
    rig.keep_alive_s = 0.001
    rig.attempts.engine = GatedEngine()
    return rig


class Client:
    """Sends one request to the ASGI face, and takes what comes back message by message."""

    def __init__(self, rig, body) -> None:
        self.sent: asyncio.Queue = asyncio.Queue()
        raw = json.dumps(body).encode()
        messages = iter([{"type": "http.request", "body": raw}])

        async def receive():
            for message in messages:
                return message
            return await asyncio.Event().wait()

        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
            "headers": [(b"authorization", b"Bearer hr_dev"), (b"content-length", str(len(raw)).encode())],
        }  # fmt: skip
        self.task = asyncio.create_task(AsgiFace(rig.application())(scope, receive, self.sent.put))

    async def next(self):
        """The next message, which comes within the test's own limit."""
        async with asyncio.timeout(5):
            return await self.sent.get()

    async def rest(self):
        """All pieces up to the end, without signs of life."""
        pieces = []
        async with asyncio.timeout(5):
            while (message := await self.sent.get()).get("more_body"):
                if message["body"] != SIGN:
                    pieces.append(message["body"])
            await self.task
        return b"".join(pieces)


def said(text, finish=""):
    return GenerateChunk(text=text, finish_reason=finish, usage=Usage(output_tokens=1) if finish else None)


async def test_a_slow_first_token_and_slow_tokens_after_it(gated):
    client = Client(gated, BODY)
    start = await client.next()
    assert start["status"] == 200 and (b"content-type", b"text/event-stream") in start["headers"]
    assert b"x-headrace-model" in dict(start["headers"])
    assert (await client.next())["body"] == SIGN
    assert (await client.next())["body"] == SIGN, "one after another"
    says = gated.attempts.engine.says
    says.put_nowait(said("one"))
    async with asyncio.timeout(5):
        while b'"one"' not in (await client.sent.get())["body"]:
            pass
    assert (await client.next())["body"] == SIGN, "between two tokens"
    says.put_nowait(said("two"))
    says.put_nowait(said("", "stop"))
    rest = await client.rest()
    assert b'"two"' in rest and rest.endswith(b"data: [DONE]\n\n")
    assert gated.left[0].status == 200 and gated.in_flight.total == 0


async def test_a_failure_before_the_first_sign_has_its_status(gated):
    gated.keep_alive_s = 60
    gated.attempts.engine.says.put_nowait(Busy("full", retry_after_s=2))
    client = Client(gated, BODY)
    start = await client.next()
    assert start["status"] == 429 and dict(start["headers"])[b"retry-after"] == b"2"


async def test_a_failure_after_the_first_sign_is_the_last_event(gated):
    client = Client(gated, BODY)
    assert (await client.next())["status"] == 200
    gated.attempts.engine.says.put_nowait(Upstream("the engine died"))
    last = await client.rest()
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == "the engine died"
    assert last.count(b"\n\n") == 1, "nothing follows"
    assert gated.left[0].error == "upstream_failed" and gated.in_flight.total == 0


async def test_an_answer_that_is_not_streamed_has_none(gated):
    client = Client(gated, {**BODY, "stream": False})
    gated.attempts.engine.says.put_nowait(said("one"))
    gated.attempts.engine.says.put_nowait(said("", "stop"))
    assert (await client.next())["status"] == 200
    assert b'"content":"one"' in (await client.next())["body"]


class SlowWire:
    """A server whose client does not read: `send` returns when the test lets it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.reads = asyncio.Event()

    async def begin(self, status, headers):
        pass

    async def send(self, chunk):
        self.sent.append(chunk)
        await self.reads.wait()


async def test_a_client_who_does_not_read_gets_no_heap_of_signs():
    wire = SlowWire()
    reply = Reply(wire)
    reply.keep_alive(KeepAlive(0.001, list, bytes))
    await reply.begin(200, [])
    sending = asyncio.create_task(reply.send(b"piece"))
    await asyncio.sleep(0.02)
    assert wire.sent == [b"piece"]
    wire.reads.set()
    await sending
    await reply.aclose()
