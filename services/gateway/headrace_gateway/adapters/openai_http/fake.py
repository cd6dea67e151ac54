"""A server for tests that speaks OpenAI's API, rightly or wrongly, and the engines that call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_gateway.adapters.engines import Engines
from headrace_gateway.fakes import FakeEngine
from headrace_gateway.ports import Envelope
from headrace_kit.config import ConfigStore, Secrets, Snapshot, parse
from headrace_kit.errors import HeadraceError
from headrace_kit.rpc import Identity
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.inference.v1 import messages_pb2 as pb

SECRET = "sk-very-secret"  # noqa: S105
Act = Callable[["Served", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Served:
    """A request as the server got it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Endpoint:
    """A server that reads requests well and then does what `act` says."""

    act: Act | None = None
    served: list[Served] = field(default_factory=list)
    connections: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode().strip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.served.append(Served(first.split(" ")[1], headers, body))
                assert self.act is not None
                await self.act(self.served[-1], reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost.set()
        finally:
            writer.close()


class Outside:
    """The composite engine over a config whose deployment `out` is the endpoint."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.secrets = Secrets(folder)
        (folder / "provider").write_text(SECRET + "\n")
        self.address = f"http://127.0.0.1:{endpoint.port}/v1"
        self.inside = FakeEngine()
        self.configure()

    def configure(self, **options: Any) -> None:
        """Begin anew with further options of the deployment."""
        out = {"engine": "openai", "model": "m", "address": self.address, "credentials": {"secret": "provider"}}
        deployments = {"out": out | options, "small": {"engine": "triton-scripted"}}
        self.snapshot = Snapshot(parse(json.dumps({"deployments": deployments})), Path("headrace.yaml"))
        self.configs = ConfigStore(self.snapshot)
        self.engines = Engines(self.inside, self.configs, self.secrets)

    def sent(self, deadline: float | None = None) -> Envelope:
        """What travels with a call."""
        return Envelope(Identity("dev"), "r-1", deadline, self.snapshot.hash, "")

    async def ask(
        self, request: pb.GenerateRequest | None = None, *, whole: bool = True, deadline: float | None = None
    ) -> list[pb.GenerateChunk]:
        """All chunks of an answer."""
        request = request or asked()
        async with aclosing(self.engines.generate(request, self.sent(deadline), whole=whole)) as chunks:
            return [chunk async for chunk in chunks]


def asked(**options: Any) -> pb.GenerateRequest:
    """A request for `out`."""
    sampling = Sampling(**options)
    hello = Message(role="user", parts=[ContentPart(text="hello there")])
    return pb.GenerateRequest(deployment="out", messages=[hello], sampling=sampling)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


def completion(text: str = "hi you", **more: Any) -> bytes:
    """The body of a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "x", "choices": [choice], "usage": USAGE} | more).encode()


def response(body: bytes, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def event(**body: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A chunk of the first choice."""
    return event(choices=[{"index": 0, "delta": ({"content": text} if text else {}) | more, "finish_reason": finish}])


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Pieces in chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def says(data: bytes, *, close: bool = False) -> Act:
    """Answers with some bytes, and hangs up where told to."""

    async def act(_: Served, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return act


def then_nothing(data: bytes) -> Act:
    """Sends some bytes and then nothing until the other side leaves."""

    async def act(_: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.readexactly(1)

    return act


async def fails(outside: Outside, kind: type[HeadraceError], code: str, **how: Any) -> HeadraceError:
    """The error of an answer, which must be of a kind and code and keep the secret."""
    try:
        await outside.ask(**how)
    except HeadraceError as error:
        assert isinstance(error, kind) and error.code == code, f"{type(error).__name__} {error.code}"
        assert SECRET not in error.message
        return error
    raise AssertionError("it did not fail")
