"""The process host: a service with gRPC, HTTP and the ops port in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import httpx
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_kit.hosting import HttpApp, ServiceApp, ServiceRuntime
from headrace_kit.hosting.http import HttpServer
from headrace_kit.hosting.process import ProcessHost
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.rpc.identity import write_keys
from headrace_protos.common.v1 import node_pb2, node_pb2_grpc


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


async def hello(scope, protocol) -> None:
    protocol.response_str(200, [("content-type", "text/plain")], "hello")


@pytest.fixture
async def host(tmp_path):
    grpc_port, http_port, ops_port = free_ports(3)
    listen = f"{{grpc_port: {grpc_port}, http_port: {http_port}, ops_port: {ops_port}}}"
    config = parse(f"services: {{gateway: {{drain_s: 1, address: '127.0.0.1:{grpc_port}', listen: {listen}}}}}")
    write_keys(tmp_path / "secrets" / "signing", SERVICES)
    env = Environment(data_dir=tmp_path)
    runtime = ServiceRuntime("gateway", env, ConfigStore(Snapshot(config, tmp_path / "headrace.yaml")))
    events: list[str] = []
    problems: list[str] = []

    def record(event: str):
        async def happened() -> None:
            events.append(event)

        return happened

    app = ServiceApp(
        "gateway",
        [],
        http=HttpApp(rsgi=hello, asgi=None),
        start=record("start"),
        drain=record("drain"),
        stop=record("stop"),
        problems=lambda: problems,
    )
    host = ProcessHost(runtime, app)
    await host.start()
    host.test = (f"http://127.0.0.1:{http_port}", f"http://127.0.0.1:{ops_port}", runtime, events, problems)
    yield host
    if "stop" not in events:
        await host.stop()
    await runtime.close()


async def test_it_serves_http_ops_health_and_node_status(host):
    http, ops, runtime, _, problems = host.test
    async with httpx.AsyncClient() as client:
        assert (await client.get(http)).text == "hello"
        assert (await client.get(f"{ops}/healthz")).json() == {"status": "ok"}
        assert (await client.get(f"{ops}/readyz")).status_code == 200
        assert "headrace_gateway_rpc_seconds" in (await client.get(f"{ops}/metrics")).text
        assert (await client.get(f"{ops}/nothing")).status_code == 404
        problems.append("postgres is away")
        answer = await client.get(f"{ops}/readyz")
        assert (answer.status_code, answer.json()["problems"]) == (503, ["postgres is away"])
    async with aio.insecure_channel(f"127.0.0.1:{host.grpc_port}") as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    peer = runtime.peer("gateway")
    status = await peer.unary(
        peer.stub(node_pb2_grpc.NodeServiceStub).GetStatus, node_pb2.GetStatusRequest(), Outbound(Identity("gateway"))
    )
    assert (status.service, status.ready, list(status.notes)) == ("gateway", False, ["postgres is away"])
    assert list(status.config_hashes) == [runtime.configs.current.hash]


async def test_metrics_come_with_examples_to_who_asks_for_openmetrics(host):
    _, ops, runtime, *_ = host.test
    seconds = Histogram("headrace_gateway_seconds", "Time.", registry=runtime.registry)
    seconds.observe(0.3, {"trace_id": "a" * 32})
    async with httpx.AsyncClient() as client:
        plain = await client.get(f"{ops}/metrics")
        asked = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        told = await client.get(f"{ops}/metrics", headers=asked)
    assert plain.headers["content-type"].startswith("text/plain") and "a" * 32 not in plain.text
    assert told.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in text_string_to_metric_families(told.text)}
    examples = [sample.exemplar for sample in families["headrace_gateway_seconds"].samples if sample.exemplar]
    assert [(one.labels["trace_id"], one.value) for one in examples] == [("a" * 32, 0.3)]


async def test_it_is_not_ready_before_all_of_its_ports_are_open(host, monkeypatch):
    _, _, runtime, _, _ = host.test
    grpc_port, http_port, ops_port = free_ports(3)
    listen = f"{{grpc_port: {grpc_port}, http_port: {http_port}, ops_port: {ops_port}}}"
    config = parse(f"services: {{gateway: {{drain_s: 1, listen: {listen}}}}}")
    runtime.configs.replace(Snapshot(config, runtime.configs.current.path))
    opening, start = asyncio.Event(), HttpServer.start

    async def late(server: HttpServer) -> None:
        if server._address[1] == http_port:
            await opening.wait()
        await start(server)

    monkeypatch.setattr(HttpServer, "start", late)
    other = ProcessHost(runtime, ServiceApp("gateway", [], http=HttpApp(rsgi=hello, asgi=None)))
    starting = asyncio.create_task(other.start())
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.ConnectError):
                answer = await client.get(f"http://127.0.0.1:{ops_port}/readyz")
                break
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()["problems"]) == (503, ["starting"])
        opening.set()
        await starting
        assert (await client.get(f"http://127.0.0.1:{ops_port}/readyz")).status_code == 200
    await other.stop()


async def test_it_stops_in_order_and_frees_its_ports(host):
    http, ops, _, events, _ = host.test
    await host.stop()
    assert events == ["start", "drain", "stop"]
    async with httpx.AsyncClient() as client:
        for url in (http, ops):
            with pytest.raises(httpx.ConnectError):
                await client.get(url)


async def test_it_serves_on_for_a_while_but_sends_clients_elsewhere(host, monkeypatch):
    http, ops, runtime, events, _ = host.test
    runtime.env = runtime.env.model_copy(update={"linger_s": 30})
    waits = asyncio.Event()
    sleep = asyncio.sleep

    async def lingering(seconds: float) -> None:
        if seconds == 30:
            await waits.wait()
        else:
            await sleep(seconds)

    monkeypatch.setattr("headrace_kit.hosting.process.asyncio.sleep", lingering)
    async with httpx.AsyncClient() as client:
        assert "connection" not in (await client.get(http)).headers
        stopping = asyncio.create_task(host.stop())
        async with asyncio.timeout(10):
            while (await client.get(f"{ops}/readyz")).status_code == 200:
                await sleep(0.01)
        answer = await client.get(http)
        assert (answer.text, answer.headers["connection"]) == ("hello", "close")
        assert "drain" not in events
        assert (await client.get(http)).text == "hello"
    async with aio.insecure_channel(f"127.0.0.1:{host.grpc_port}") as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    waits.set()
    await stopping
    assert events == ["start", "drain", "stop"]


async def test_it_stays_longer_for_who_has_not_heard_yet(host, monkeypatch):
    http, _, runtime, events, _ = host.test
    runtime.env = runtime.env.model_copy(update={"linger_s": 0.05})
    monkeypatch.setattr("headrace_kit.hosting.process.SILENT_S", 3)
    monkeypatch.setattr("headrace_kit.hosting.process.LONGER_S", 3600)
    async with httpx.AsyncClient() as client:
        stopping = asyncio.create_task(host.stop())
        await asyncio.sleep(0)
        for _ in range(10):  # together much longer than it was told to linger
            assert (await client.get(http)).text == "hello"
            await asyncio.sleep(0.1)
        assert events == ["start"]
    async with asyncio.timeout(30):
        await stopping
    assert events == ["start", "drain", "stop"]


async def test_it_does_not_stay_for_ever(host, monkeypatch):
    http, _, runtime, events, _ = host.test
    runtime.env = runtime.env.model_copy(update={"linger_s": 0.05})
    monkeypatch.setattr("headrace_kit.hosting.process.LONGER_S", 0.3)
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        stopping = asyncio.create_task(host.stop())
        with contextlib.suppress(httpx.TransportError):
            while not stopping.done():
                await client.get(http)
        await stopping
    assert events == ["start", "drain", "stop"]


async def test_a_taken_grpc_port_is_an_error(host):
    _, _, runtime, _, _ = host.test
    second = ProcessHost(runtime, ServiceApp("gateway", []))
    with pytest.raises(RuntimeError, match="Failed to bind"):
        await second.start()
    await second.stop()


async def test_a_taken_http_port_is_an_error_that_names_it(host):
    port = int(host.test[0].rsplit(":", 1)[1])
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        await HttpServer(hello, "127.0.0.1", port).start()


def test_ports_do_not_collide():
    assert len(set(OFFSETS.values())) == len(OFFSETS)
    assert max(OFFSETS.values()) < 100


async def test_the_loop_is_left_clean(host):
    await host.stop()
    await asyncio.sleep(0)
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not [name for name in names if "serve" in name]


async def test_a_second_release_is_reached_where_the_newest_config_says_that_it_is(host):
    _, _, runtime, _, _ = host.test
    path = runtime.configs.current.path

    def say(services: str) -> None:
        runtime.configs.replace(Snapshot(parse(f"services: {services}"), path))

    assert runtime.canary("guardrails") is None
    say("{guardrails: {canary_address: 'second:7830'}}")
    second = runtime.canary("guardrails")
    assert second is not None and second is runtime.canary("guardrails")
    assert second is not runtime.peer("guardrails") and second.service == "guardrails"
    say("{guardrails: {canary_address: 'third:7830'}}")
    assert runtime.canary("guardrails") is not second
    say("{guardrails: {release: '2.0'}}")
    assert runtime.canary("guardrails") is None
