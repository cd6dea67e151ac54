"""Deployments for admins: HTTP and gRPC, against an inference service of the test's own on a real port."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
from grpc import aio
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_gateway.adapters.services import Services
from headrace_gateway.admin import KeyAdmin
from headrace_gateway.audit import AuditReader
from headrace_gateway.deployments import DeploymentAdmin
from headrace_gateway.grpc_api.admin import AdminServicer
from headrace_gateway.http_api.admin_deployments import DeploymentsApi
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_kit.errors import NotFound, Upstream
from headrace_kit.rpc import Call, Peer, RpcRuntime, rpc
from headrace_kit.rpc.identity import Signer, Verifier, write_keys
from headrace_kit.rpc.status import from_rpc_error
from headrace_protos.gateway.v1 import messages_pb2 as gateway
from headrace_protos.gateway.v1 import service_pb2_grpc as gateway_grpc
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc as api

PATH = "/v1/admin/deployments"
ADMIN = {"authorization": "Bearer bootstrap-secret"}
SERVICES = ("gateway", "inference", "retrieval", "guardrails", "tracing", "rollout")


NO_VERSION, NO_AUDIT = (lambda: ("", "", "")), AuditReader(None)


class Inference(api.InferenceServiceServicer):
    """Has two deployments. Loading `slow` takes until `go`, and goes on when the caller leaves; `bad` cannot be."""

    def __init__(self, runtime: RpcRuntime) -> None:
        self.rpc_runtime = runtime
        self.states = {"slow": "unloaded", "bad": "failed", "small": "ready"}
        self.go = asyncio.Event()
        self.calls: list[tuple[str, Call]] = []
        self.left = 0
        self.away = False

    def status(self, name: str) -> pb.DeploymentStatus:
        return pb.DeploymentStatus(
            name=name,
            engine="triton-scripted",
            model=name,
            state=self.states[name],
            tasks=["generate"],
            version=3,
            adapters=["legal"],
            accepts=["image"],
            load_error="no memory" if name == "small" else "",
        )

    @rpc(callers={"gateway"})
    async def ListDeployments(self, request, call):
        if self.away:
            raise Upstream("the engine is away")
        return pb.ListDeploymentsResponse(deployments=[self.status(name) for name in self.states])

    @rpc(callers={"gateway"})
    async def GetLoad(self, request, call):
        load = pb.DeploymentLoad(deployment="small", running=2, waiting=1, slots=4, wait_ms=12.5, kv_cache_used=0.25)
        return pb.GetLoadResponse(loads=[load, pb.DeploymentLoad(deployment="slow", slots=1)])

    @rpc(callers={"gateway"})
    async def LoadDeployment(self, request, call):
        self.calls.append(("load", call))
        if request.deployment == "bad":
            raise Upstream("model.gguf is cut off", code="engine_failed")
        self.states[request.deployment] = "loading"
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        self.states[request.deployment] = "ready"
        return self.status(request.deployment)

    @rpc(callers={"gateway"})
    async def UnloadDeployment(self, request, call):
        self.calls.append(("unload", call))
        self.states[request.deployment] = "unloaded"
        return self.status(request.deployment)

    @rpc(callers={"gateway"})
    async def WarmDeployment(self, request, call):
        self.calls.append(("warm", call))
        return self.status(request.deployment)


@dataclass
class World:
    """The gateway's admin API before that inference service."""

    inference: Inference
    admin: DeploymentAdmin
    http: httpx.AsyncClient
    grpc: gateway_grpc.AdminServiceStub
    metadata: tuple = field(default=(("authorization", "Bearer bootstrap-secret"),))

    async def act(self, name: str, action: str, **query: str) -> httpx.Response:
        return await self.http.post(f"{PATH}/{name}:{action}", params=query)


@pytest.fixture
async def world(rig, tmp_path):
    write_keys(tmp_path, SERVICES)
    async with contextlib.AsyncExitStack() as held:

        async def serve(add, servicer) -> str:
            server = aio.server()
            add(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            held.push_async_callback(server.stop, None)
            return f"127.0.0.1:{port}"

        def runtime(name: str) -> RpcRuntime:
            return RpcRuntime.create(name, Verifier(name, tmp_path), NoOpTracer(), CollectorRegistry())

        inference = Inference(runtime("inference"))
        address = await serve(api.add_InferenceServiceServicer_to_server, inference)
        peers = {name: Peer(name, address, Signer("gateway", tmp_path)) for name in SERVICES[1:]}
        for peer in peers.values():
            held.push_async_callback(peer.close)
        admin = DeploymentAdmin(Services(peers), soon_s=0.2)
        held.push_async_callback(admin.stop)
        servicer = AdminServicer(
            runtime("gateway"), rig.door, KeyAdmin(store=None), admin, lambda: ("", "", ""), AuditReader(None)
        )
        address = await serve(gateway_grpc.add_AdminServiceServicer_to_server, servicer)
        channel = await held.enter_async_context(aio.insecure_channel(address))
        transport = httpx.ASGITransport(AsgiFace(rig.application(*DeploymentsApi(admin).routes())))
        http = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=ADMIN)
        await held.enter_async_context(http)
        yield World(inference, admin, http, gateway_grpc.AdminServiceStub(channel))


async def test_states_and_loads_by_name(world):
    body = (await world.http.get(PATH)).json()
    assert [entry["name"] for entry in body["data"]] == ["bad", "slow", "small"]
    bad, slow, small = body["data"]
    assert small["load"] == {
        "waiting": 1,
        "running": 2,
        "slots": 4,
        "tokens_per_second": 0.0,
        "first_token_ms": 0.0,
        "output_token_ms": 0.0,
        "wait_ms": 12.5,
        "kv_cache_used": 0.25,
    }
    assert slow["load"]["kv_cache_used"] is None and bad["load"] is None
    assert (small["version"], small["load_error"], slow["load_error"]) == (3, "no memory", None)
    assert (small["adapters"], small["accepts"], small["tasks"]) == (["legal"], ["image"], ["generate"])
    assert (await world.http.get(f"{PATH}/small")).json() == small


async def test_a_load_that_nobody_waits_for_answers_at_once_and_goes_on(world):
    answer = await world.act("slow", "load")
    assert (answer.status_code, answer.json()["state"]) == (202, "loading")
    [(action, call)] = world.inference.calls
    assert action == "load" and call.caller.tenant and call.caller.scopes >= {"admin"}
    assert call.remaining_s() > 3000
    world.inference.go.set()
    async with asyncio.timeout(10):
        while (await world.http.get(f"{PATH}/slow")).json()["state"] != "ready":
            await asyncio.sleep(0.01)
    assert not world.inference.left


async def test_a_load_can_be_waited_for(world):
    waiting = asyncio.create_task(world.act("slow", "load", wait="true"))
    async with asyncio.timeout(10):
        while world.inference.states["slow"] != "loading":
            await asyncio.sleep(0.01)
    assert not waiting.done()
    world.inference.go.set()
    answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (200, "ready")


async def test_waiting_ends_with_the_callers_time(world):
    answer = await world.http.post(
        f"{PATH}/slow:load", params={"wait": "true"}, headers={"x-headrace-timeout-ms": "300"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")


@pytest.mark.parametrize("wait", ["true", "false"])
async def test_why_a_deployment_cannot_be_loaded_is_told(world, wait):
    answer = await world.act("bad", "load", wait=wait)
    assert answer.status_code == 502
    assert answer.json()["error"] == {
        "message": "model.gguf is cut off",
        "type": "upstream_error",
        "param": None,
        "code": "engine_failed",
    }


async def test_unload_and_warm(world):
    assert (await world.act("small", "warm", wait="true")).json()["state"] == "ready"
    assert (await world.act("small", "unload", wait="true")).json()["state"] == "unloaded"
    assert [action for action, _ in world.inference.calls] == ["warm", "unload"]


@pytest.mark.parametrize("action", ["load", "unload", "warm"])
async def test_an_unknown_deployment_is_not_found(world, action):
    answer = await world.act("smal", action)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "deployment_not_found", "deployment")
    assert "did you mean 'small'" in error["message"]
    assert not world.inference.calls


async def test_only_admins_and_only_what_is_known(world):
    for path in (PATH, f"{PATH}/small"):
        assert (await world.http.get(path, headers={"authorization": "Bearer hr_dev"})).status_code == 403
    refused = await world.http.post(f"{PATH}/small:unload", headers={"authorization": "Bearer hr_dev"})
    assert refused.status_code == 403 and not world.inference.calls
    assert (await world.act("small", "load", wait="perhaps")).status_code == 400
    assert (await world.http.post(f"{PATH}/small:load", json={"force": True})).json()["error"]["param"] == "force"
    assert (await world.http.get(PATH, params={"all": "true"})).status_code == 400
    world.inference.away = True
    assert (await world.http.get(PATH)).status_code == 502


async def test_the_same_over_grpc(world):
    found = await world.grpc.ListDeployments(gateway.ListDeploymentsRequest(), metadata=world.metadata)
    assert [entry.name for entry in found.deployments] == ["bad", "slow", "small"]
    assert found.deployments[2].load.kv_cache_used == 0.25 and not found.deployments[1].load.HasField("kv_cache_used")
    begun = await world.grpc.LoadDeployment(gateway.LoadDeploymentRequest(deployment="slow"), metadata=world.metadata)
    assert begun.state == "loading"
    world.inference.go.set()
    request = gateway.UnloadDeploymentRequest(deployment="small", wait=True)
    assert (await world.grpc.UnloadDeployment(request, metadata=world.metadata)).state == "unloaded"
    warm = gateway.WarmDeploymentRequest(deployment="small", wait=True)
    assert (await world.grpc.WarmDeployment(warm, metadata=world.metadata)).name == "small"
    with pytest.raises(aio.AioRpcError) as caught:
        await world.grpc.LoadDeployment(gateway.LoadDeploymentRequest(deployment="none"), metadata=world.metadata)
    assert isinstance(from_rpc_error(caught.value), NotFound)
    with pytest.raises(aio.AioRpcError) as caught:
        await world.grpc.ListDeployments(
            gateway.ListDeploymentsRequest(), metadata=(("authorization", "Bearer hr_dev"),)
        )
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
