"""A gateway process that is told to stop: not ready, then closed to new callers, and gone when streams have ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace_kit.config.ports import OFFSETS
from headrace_local.ports import free_port_base
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)
GATEWAY = """
tenants: {dev: {}}
deployments:
  outside: {engine: openai, address: "http://127.0.0.1:%d/v1", model: there, max_output_tokens: 100}
models:
  assistant: {deployment: outside}
services:
  gateway: {drain_s: %g}
"""
CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "stream": True}
HI = Message(role="user", parts=[ContentPart(text="hi")])
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def event(**choice) -> bytes:
    made = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "there"}
    return f"data: {json.dumps({**made, 'choices': [{'index': 0, **choice}]})}\n\n".encode()


class Upstream:
    """Begins each stream at once, and ends it when it is told to."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [size] = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        await reader.readexactly(int(size))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(event(delta={"role": "assistant", "content": "begun"}, finish_reason=None))
        await self.end.wait()
        writer.write(event(delta={"content": " and ended"}, finish_reason="stop") + b"data: [DONE]\n\n")
        writer.close()


@dataclass
class Gateway:
    """A process, its upstream, and who talks to it."""

    process: Process
    upstream: Upstream
    ports: int
    key: str
    http: httpx.AsyncClient
    channel: aio.Channel
    readings: list[asyncio.Task[list[str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports + OFFSETS['gateway-http']}"

    async def ready(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.ports + OFFSETS['gateway-ops']}/readyz")
            except httpx.TransportError:
                return False
            return answer.status_code == 200

    async def models(self) -> httpx.Response:
        """Asks over a connection of its own, as somebody does who comes new."""
        async with httpx.AsyncClient(headers=self.http.headers) as client:
            return await client.get(f"{self.url}/v1/models")

    async def refused(self) -> bool:
        try:
            await self.models()
        except httpx.ConnectError:
            return True
        except (httpx.ReadError, httpx.RemoteProtocolError):
            return False  # the kernel had let it in when the port closed
        return False

    async def begin_http(self) -> asyncio.Task[list[str]]:
        """A stream over HTTP that has begun; the task reads it to its end."""
        begun = asyncio.Event()

        async def read() -> list[str]:
            said = []
            async with self.http.stream("POST", f"{self.url}/v1/chat/completions", json=CHAT) as answer:
                async for line in answer.aiter_lines():
                    said.append(line.removeprefix("data: "))
                    if "begun" in line:
                        begun.set()
            return list(filter(None, said))

        return await self._reading(read(), begun)

    async def begin_grpc(self) -> asyncio.Task[list[str]]:
        """The same over gRPC."""
        begun = asyncio.Event()
        stub = service_pb2_grpc.GatewayServiceStub(self.channel)
        request = messages_pb2.GenerateRequest(model="assistant", messages=[HI])

        async def read() -> list[str]:
            said = []
            try:
                async for chunk in stub.GenerateStream(request, metadata=self.metadata):
                    said.append(chunk.text + chunk.finish_reason)
                    begun.set()
            except aio.AioRpcError as error:
                said.append(error.details() or "")
            return list(filter(None, said))

        return await self._reading(read(), begun)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)

    async def _reading(self, work, begun: asyncio.Event) -> asyncio.Task[list[str]]:
        task = asyncio.create_task(work)
        self.readings.append(task)
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert begun.is_set(), task.result()
        return task


@pytest.fixture
async def start(part, tmp_path):
    """Starts a gateway that lingers."""
    started: list[Gateway] = []
    servers: list[asyncio.Server] = []

    async def starting(drain_s: float) -> Gateway:
        upstream = Upstream()
        servers.append(await asyncio.start_server(upstream.serve, "127.0.0.1", 0))
        config, ports = tmp_path / "headrace.yaml", free_port_base()
        config.write_text(GATEWAY % (servers[-1].sockets[0].getsockname()[1], drain_s))
        env = part.platform.settings.environment() | {
            "HEADRACE_CONFIG": str(config),
            "HEADRACE_PORT_BASE": str(ports),
            "HEADRACE_DATA_DIR": str(tmp_path),
            "HEADRACE_LINGER_S": "2",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_kit.hosting", "gateway", env={**os.environ, **env}
        )
        key = (part.platform.layout.secrets / "bootstrap-admin-key").read_text().strip()
        http = httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60)
        channel = aio.insecure_channel(f"127.0.0.1:{ports + OFFSETS['gateway-grpc']}")
        gateway = Gateway(process, upstream, ports, key, http, channel)
        started.append(gateway)
        await until(gateway.ready)
        made = await http.post(f"{gateway.url}/v1/admin/keys", json={"tenant": "dev", "name": "t"})
        assert made.status_code == 201, made.text
        gateway.key = made.json()["key"]
        http.headers["authorization"] = f"Bearer {gateway.key}"
        return gateway

    yield starting
    for gateway in started:
        gateway.upstream.end.set()
        if gateway.process.returncode is None:
            gateway.process.kill()
            await gateway.process.wait()
        await asyncio.gather(*gateway.readings, return_exceptions=True)
        await gateway.http.aclose()
        await gateway.channel.close()
    for server in servers:
        server.close()


async def until(true, within_s=240):
    """Ask until it is so."""
    async with asyncio.timeout(within_s):
        while not await true():
            await asyncio.sleep(0.02)


async def test_it_is_not_ready_first_then_closed_and_gone_when_its_streams_have_ended(start):
    gateway = await start(drain_s=60)
    http, over_grpc = await gateway.begin_http(), await gateway.begin_grpc()
    health = health_pb2_grpc.HealthStub(gateway.channel)
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status != NOT_SERVING

    gateway.process.send_signal(signal.SIGTERM)
    assert (await watching.read()).status == NOT_SERVING
    assert not await gateway.ready()
    # Whoever has not heard of it yet is served, and told to connect anew.
    served = await gateway.models()
    assert (served.status_code, served.headers["connection"]) == (200, "close")
    stub = service_pb2_grpc.GatewayServiceStub(gateway.channel)
    assert (await stub.ListModels(messages_pb2.ListModelsRequest(), metadata=gateway.metadata)).models

    # Then nobody new comes in, over neither; those that watched its health are sent away.
    await until(gateway.refused)
    assert await watching.read() is aio.EOF
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.ListModels(messages_pb2.ListModelsRequest(), metadata=gateway.metadata)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "shutting down" not in caught.value.details()  # the port is closed: nobody was let in to be refused
    assert gateway.process.returncode is None and not http.done() and not over_grpc.done()

    gateway.upstream.end.set()
    said = await http
    assert said[-1] == "[DONE]" and any('"finish_reason":"stop"' in line for line in said)
    assert "".join(await over_grpc).startswith("begun and ended")
    async with asyncio.timeout(240):
        assert await gateway.process.wait() == 0


async def test_streams_that_outlast_the_limit_are_told_so(start):
    gateway = await start(drain_s=0.5)
    http, over_grpc = await gateway.begin_http(), await gateway.begin_grpc()
    gateway.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(240):
        assert await gateway.process.wait() == 0
    last = json.loads([line for line in await http if line.startswith("{")][-1])
    assert last["error"]["code"] == "draining"
    assert "shutting down" in (await over_grpc)[-1]


async def test_requests_that_keep_coming_meet_no_503(start):
    """An outdated proxy sends on: each is answered, until the port is closed."""
    gateway = await start(drain_s=60)
    stream = await gateway.begin_http()
    gateway.process.send_signal(signal.SIGTERM)
    statuses = []

    async def refused() -> bool:
        try:
            statuses.append((await gateway.models()).status_code)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:  # in the moment in which the port is closed
            pass
        return False

    await until(refused)
    assert set(statuses) == {200}
    gateway.upstream.end.set()
    assert (await stream)[-1] == "[DONE]"
    async with asyncio.timeout(240):
        assert await gateway.process.wait() == 0
