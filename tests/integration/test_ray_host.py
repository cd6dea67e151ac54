"""The Ray host with small services of the test's own: errors, cancel, streams, sockets, and what a run leaves behind.

The tests build on each other: one start for most of them, then a kill -9, a second start, and a stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import psutil
import pytest

from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_kit.errors import Blocked, DeadlineExceeded, Forbidden, HeadraceError, NotFound, Upstream
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer, write_keys
from headrace_local.ports import free_port_base
from headrace_local.ray.session import members
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc
from headrace_protos.guardrails.v1 import messages_pb2 as guardrails_pb2
from headrace_protos.guardrails.v1 import service_pb2_grpc as guardrails_grpc

TOYS = Path(__file__).parent / "ray_services"
PATIENCE_S = 480


class Host:
    """`python -m headrace_local.ray` with two of the six applications."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.base = free_port_base()
        self.process: subprocess.Popen[bytes] | None = None
        write_keys(data / "secrets" / "signing", SERVICES)
        (data / "headrace.yaml").write_text("services: {gateway: {drain_s: 5}, guardrails: {drain_s: 5}}\n")

    def port(self, name: str) -> int:
        return self.base + OFFSETS[name]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port('gateway-http')}"

    @property
    def folder(self) -> Path:
        return Path((self.data / "run" / "ray-session").read_text().strip())

    @property
    def log(self) -> str:
        return (self.data / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace_local.ray", "--services", "gateway,guardrails"],
                env={
                    **os.environ,
                    "HEADRACE_CONFIG": str(self.data / "headrace.yaml"),
                    "HEADRACE_DATA_DIR": str(self.data),
                    "HEADRACE_PORT_BASE": str(self.base),
                    "PYTHONPATH": str(TOYS),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.ready():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port('ray-ops')}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:  # a refusal, and a 503 too
            return False

    def peer(self, service: str = "gateway") -> Peer:
        return Peer(service, f"127.0.0.1:{self.port('gateway-grpc')}", Signer("gateway", self.data / "secrets/signing"))

    def events(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.data / "events").read_text().split("\n")
        return []

    async def logged(self, text: str) -> bool:
        """Whether the host's log has a text; Ray brings what replicas log some time after they did."""
        for _ in range(300):
            if text in self.log:
                return True
            await asyncio.sleep(0.1)
        return False

    async def happened(self, event: str) -> bool:
        for _ in range(100):
            if event in self.events():
                return True
            await asyncio.sleep(0.1)
        return False


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("ray"))
    host.start()
    yield host
    if host.process and host.process.poll() is None:
        host.process.terminate()
        host.process.wait(120)


@pytest.fixture
async def call(host):
    """Call a method of the toy gateway: `await call("Generate", model=..., prompt=...)`."""
    peer = host.peer()
    stub = peer.stub(service_pb2_grpc.GatewayServiceStub)
    who = Outbound(Identity("gateway"), request_id="r1")

    async def unary(within=None, **request):
        outbound = who.within(within) if within else who
        return await peer.unary(stub.Generate, messages_pb2.GenerateRequest(**request), outbound)

    def stream(within=None, **request):
        outbound = who.within(within) if within else who
        return peer.stream(stub.GenerateStream, messages_pb2.GenerateRequest(**request), outbound)

    unary.stream = stream
    yield unary
    await peer.close()


async def test_calls_reach_the_application_that_they_name(host, call):
    assert (await call(prompt="hello")).model == "hello"
    peer = host.peer("guardrails")
    stub = peer.stub(guardrails_grpc.GuardrailsServiceStub)
    who = Outbound(Identity("gateway", tenant="acme"), request_id="r7")
    assert (await peer.unary(stub.Check, guardrails_pb2.CheckRequest(text="x"), who)).text == "acme r7"
    await peer.close()


async def test_identity_is_checked_as_on_the_process_host(host):
    peer = Peer(
        "guardrails", f"127.0.0.1:{host.port('gateway-grpc')}", Signer("tracing", host.data / "secrets" / "signing")
    )
    stub = peer.stub(guardrails_grpc.GuardrailsServiceStub)
    with pytest.raises(Forbidden, match="tracing may not call Check"):
        await peer.unary(stub.Check, guardrails_pb2.CheckRequest(), Outbound(Identity("tracing")))
    await peer.close()


async def test_a_typed_error_arrives_whole(call):
    with pytest.raises(NotFound, match="no such model") as caught:
        await call(model="missing")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_an_unexpected_error_tells_nothing(call):
    with pytest.raises(HeadraceError) as caught:
        await call(model="broken")
    assert "secret" not in str(caught.value)
    assert caught.value.code == "internal_error"


async def test_an_error_in_mid_stream_arrives_whole_after_what_came_before(call):
    texts = []
    with pytest.raises(Upstream, match="the engine died") as caught:
        async for chunk in call.stream(model="broken"):
            texts.append(chunk.text)
    assert texts == ["0", "1", "2"]
    assert (caught.value.code, caught.value.retry_after_s) == ("engine_died", 2)


async def test_it_arrives_whole_through_rays_own_proxy_too(host):
    """HAProxy hands calls to it until it knows of a replica."""
    signer = Signer("gateway", host.data / "secrets/signing")
    peer = Peer("gateway", f"127.0.0.1:{host.port('ray-proxy-grpc')}", signer)
    stub, who = peer.stub(service_pb2_grpc.GatewayServiceStub), Outbound(Identity("gateway"), request_id="r1")
    texts = []
    with pytest.raises(Upstream, match=r"the engine died$") as caught:
        async for chunk in peer.stream(stub.GenerateStream, messages_pb2.GenerateRequest(model="broken"), who):
            texts.append(chunk.text)
    assert texts == ["0", "1", "2"]
    assert (caught.value.code, caught.value.retry_after_s) == ("engine_died", 2)
    await peer.close()


async def test_a_large_message_passes(call):
    text = "x" * 20_000_000
    assert (await call(prompt=text)).model == text


async def test_a_cancelled_call_is_cancelled_in_the_replica(host, call):
    task = asyncio.create_task(call(model="forever", prompt="first"))
    await asyncio.sleep(0.5)
    task.cancel()
    assert await host.happened("first cancelled")


async def test_a_deadline_ends_a_call_in_the_replica(host, call):
    with pytest.raises(DeadlineExceeded):
        await call(within=0.5, model="forever", prompt="second")
    assert await host.happened("second cancelled")


async def test_a_stream_that_nobody_reads_any_more_ends_in_the_replica(host, call):
    stream = call.stream(model="forever", prompt="third")
    for _ in range(10):
        await anext(stream)
    await stream.aclose()
    assert await host.happened("third ended")


async def test_more_streams_than_http2_allows_by_default_run_at_once_on_one_connection(call):
    streams = [call.stream(model="forever", prompt="many") for _ in range(150)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(anext(stream) for stream in streams))
    for stream in streams:
        await stream.aclose()


async def test_both_sides_stream(host):
    peer = host.peer("guardrails")
    stub = peer.stub(guardrails_grpc.GuardrailsServiceStub)
    said = asyncio.Queue()

    async def requests():
        while text := await said.get():
            yield guardrails_pb2.CheckStreamRequest(delta=text)

    answers = peer.stream(stub.CheckStream, requests(), Outbound(Identity("gateway")))
    for text in ("a", "b"):
        said.put_nowait(text)
        assert (await anext(answers)).text == text.upper()
    said.put_nowait("bad")
    with pytest.raises(Blocked) as caught:
        await anext(answers)
    assert caught.value.param == "delta"
    await peer.close()


async def test_http_streams_chunk_by_chunk(host):
    async with httpx.AsyncClient() as client, client.stream("GET", f"{host.url}/three") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert b"".join(chunks) == b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert len(chunks) > 1


async def test_the_application_hears_that_an_http_client_went(host):
    async with httpx.AsyncClient() as client, client.stream("GET", f"{host.url}/forever") as answer:
        await anext(answer.aiter_raw())
    assert await host.happened("http client gone")


async def test_services_without_http_answer_404(host):
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{host.url}/-/guardrails")).status_code == 404


async def test_each_replica_has_its_ops_port(host):
    async with httpx.AsyncClient() as client:
        for service in ("gateway", "guardrails"):
            url = f"http://127.0.0.1:{host.port(f'{service}-ops')}"
            assert (await client.get(f"{url}/readyz")).json() == {"status": "ready", "problems": []}
            assert f"headrace_{service}_rpc_seconds" in (await client.get(f"{url}/metrics")).text


async def test_replicas_log_where_the_host_does(host):
    assert await host.logged('"service": "guardrails"'), host.log
    assert await host.logged("Generate failed"), host.log


def test_everything_listens_on_loopback_only(host):
    pids = {host.process.pid, *(child.pid for child in psutil.Process(host.process.pid).children(recursive=True))}
    listeners = [
        sock.laddr for sock in psutil.net_connections("inet") if sock.status == psutil.CONN_LISTEN and sock.pid in pids
    ]
    assert {host.port("gateway-http"), host.port("gateway-grpc"), host.port("ray-gcs")} <= {at.port for at in listeners}
    assert {at.ip for at in listeners} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_nothing_lies_outside_the_session(host):
    assert host.folder.stat().st_mode & 0o777 == 0o700
    assert (host.folder / "token").stat().st_mode & 0o777 == 0o600


async def test_after_kill_9_the_next_start_recovers(host, call):
    old = host.folder
    assert members(old)
    host.process.send_signal(signal.SIGKILL)
    host.process.wait(10)
    host.start()
    assert not members(old)
    assert not old.exists()
    assert host.folder != old
    peer = host.peer()
    stub = peer.stub(service_pb2_grpc.GatewayServiceStub)
    answer = await peer.unary(
        stub.Generate, messages_pb2.GenerateRequest(prompt="again"), Outbound(Identity("gateway"))
    )
    assert answer.model == "again"
    await peer.close()


def test_a_stop_lets_services_stop_and_leaves_nothing(host):
    folder = host.folder
    children = psutil.Process(host.process.pid).children(recursive=True)
    host.process.terminate()
    assert host.process.wait(120) == 0, host.log
    assert "stop" in host.events()
    assert not members(folder)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not folder.exists()
    held = {sock.laddr.port for sock in psutil.net_connections("inet") if sock.status == psutil.CONN_LISTEN}
    assert not held & set(range(host.base, host.base + 100))


def test_serve_builds_an_application_from_the_arguments_of_a_config_file():
    """As KubeRay has Serve do it."""
    probe = """
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
from headrace_kit.hosting.ray_app import application
print(type(build(application, {"service": "inference", "drain_s": 7})).__name__)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Application"]
