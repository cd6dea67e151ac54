"""The two sides of a comparison: headrace's inference service, and a bare OpenAI-shaped server."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import msgspec

from benchmarks.inference.processes import Trees
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc

PATIENCE_S = 600.0
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: greedy, so that both sides say the same. `regex` holds headrace's whole answer to a pattern."""

    prompt: str
    max_tokens: int
    regex: str = ""


@dataclass(slots=True)
class Answer:
    """What came back, and when. Times are seconds since the request was sent."""

    first_s: float = 0.0
    total_s: float = 0.0
    output_tokens: int = 0
    messages: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
    cached_tokens: int = 0
    text: str = ""


class Side(Protocol):
    """Serves requests; its processes' CPU time is what is measured."""

    name: str
    trees: Trees

    async def ask(self, ask: Ask) -> Answer:
        """Stream one answer to its end."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class Headrace:
    """The inference service by gRPC, as the gateway calls it.

    Args:
        platform: runs `triton` and `inference`.
        deployment: what is asked.
    """

    name = "headrace"

    def __init__(self, platform: Platform, deployment: str, caller: str = "gateway") -> None:
        status = platform.status()
        assert status is not None
        self.trees = Trees(tuple(pid for unit in ("triton", "inference") if (pid := status.units[unit].pid)))
        signer = Signer(caller, platform.layout.secrets / "signing")
        self.peer = Peer("inference", f"127.0.0.1:{platform.port('inference-grpc')}", signer)
        self.stub = self.peer.stub(service_pb2_grpc.InferenceServiceStub)
        self.deployment = deployment
        self._outbound = Outbound(Identity(caller, tenant="bench"), "benchmark")

    async def ready(self) -> None:
        """Wait until the service has seen that the deployment serves.

        Raises:
            RuntimeError: it does not within a minute; the message says why.
        """
        until = time.monotonic() + _READY_S
        while True:
            answer = await self.call("ListDeployments", pb.ListDeploymentsRequest())
            found = next(entry for entry in answer.deployments if entry.name == self.deployment)
            if found.state == "ready":
                return
            if time.monotonic() > until:
                raise RuntimeError(f"{self.deployment} is {found.state}: {found.detail}")
            await asyncio.sleep(0.1)

    async def ask(self, ask: Ask) -> Answer:
        """See `Side`."""
        message = chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=ask.prompt)])
        sampling = chat_pb2.Sampling(max_tokens=ask.max_tokens, temperature=0)
        if ask.regex:
            sampling.response_format.type, sampling.response_format.regex = "regex", ask.regex
        return await self.stream(pb.GenerateRequest(deployment=self.deployment, messages=[message], sampling=sampling))

    async def stream(self, request: pb.GenerateRequest) -> Answer:
        """The answer to any request."""
        answer, texts = Answer(), []
        started = time.perf_counter()
        call = self.peer.stream(self.stub.GenerateStream, request, self._outbound.within(PATIENCE_S))
        async with aclosing(call) as chunks:
            async for chunk in chunks:
                answer.messages += 1
                if chunk.text:
                    answer.first_s = answer.first_s or time.perf_counter() - started
                    texts.append(chunk.text)
                if chunk.HasField("usage"):
                    usage = chunk.usage
                    answer.output_tokens = usage.output_tokens
                    answer.cached_tokens = usage.cached_input_tokens
                    answer.draft_tokens = usage.draft_tokens
                    answer.accepted_draft_tokens = usage.accepted_draft_tokens
        answer.total_s = time.perf_counter() - started
        answer.text = "".join(texts)
        return answer

    async def call(self, method: str, request: Any) -> Any:
        """A unary call."""
        return await self.peer.unary(getattr(self.stub, method), request, self._outbound.within(PATIENCE_S))

    async def close(self) -> None:
        """See `Side`."""
        await self.peer.close()


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Usage(msgspec.Struct):
    completion_tokens: int


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(_Event)


@dataclass
class Bare:
    """A server that speaks OpenAI's API, over HTTP.

    Attributes:
        name: in tables.
        url: its base address.
        trees: its processes.
        model: name of the model, where the server wants one.
    """

    name: str
    url: str
    trees: Trees
    model: str = ""
    _http: aiohttp.ClientSession | None = field(default=None, repr=False)

    async def ask(self, ask: Ask) -> Answer:
        """See `Side`."""
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
            # llama.cpp closes idle connections without a word, and a request that meets that is lost.
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=timeout
            )
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": ask.prompt}],
            "max_tokens": ask.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer, texts = Answer(), []
        started = time.perf_counter()
        async with self._http.post(f"{self.url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                event = _DECODER.decode(line[6:])
                answer.messages += 1
                for choice in event.choices:
                    if choice.delta.content:
                        answer.first_s = answer.first_s or time.perf_counter() - started
                        texts.append(choice.delta.content)
                if event.usage:
                    answer.output_tokens = event.usage.completion_tokens
                answer.draft_tokens = event.timings.get("draft_n", answer.draft_tokens)
                answer.accepted_draft_tokens = event.timings.get("draft_n_accepted", answer.accepted_draft_tokens)
        answer.total_s = time.perf_counter() - started
        answer.text = "".join(texts)
        return answer

    async def close(self) -> None:
        """See `Side`."""
        if self._http is not None:
            await self._http.close()
