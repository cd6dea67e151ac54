"""Rollouts of guardrails: there are pods and no routes, and gateways share out by the weight that they are granted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from grpc import aio
from prometheus_client import CollectorRegistry

from headrace_kit.config import Config, Environment
from headrace_kit.config.ports import SERVICES
from headrace_kit.config.services import Pods, Routes
from headrace_kit.errors import BadInput, NotReady
from headrace_kit.rpc import Peer
from headrace_kit.rpc.identity import Signer, Verifier, write_keys
from headrace_kit.rpc.servicer import RpcRuntime
from headrace_kit.rpc.servicer import rpc as served
from headrace_kit.telemetry.tracing import make_provider, make_tracer
from headrace_protos.common.v1 import node_pb2, node_pb2_grpc
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_rollout.adapters.asked_pods import AskedPods, Lookout
from headrace_rollout.adapters.kubernetes_routes import KubernetesRoutes
from headrace_rollout.adapters.memory_routes import MemoryRoutes
from headrace_rollout.domain.records import State
from headrace_rollout.domain.routing import Routing
from headrace_rollout.ports import Seen

TARGET = "service/guardrails"
PODS = {"guardrails": {"canary": "gr-canary", "ready_within": "60s"}}
STEPS = [{"weight": "20%", "at_least": "10s"}, {"weight": "50%", "at_least": "10s"}, {"weight": "100%"}]
STAYS = [{"weight": "20%", "at_least": "1h"}, {"weight": "100%"}]
BY_TIME = {"candidate": {"release": "2.0"}, "steps": STEPS}


def config(rollout: dict | None = None, release: str = "1.0", pods: dict = PODS, address: str | None = "x:1") -> Config:
    return Config.model_validate(
        {
            "services": {"guardrails": {"release": release, "canary_address": address}, "rollout": {"pods": pods}},
            "rollouts": {TARGET: rollout} if rollout else {},
        }
    )


class Cluster:
    """A world whose gateways share requests to guardrails out by what they are granted."""

    def __init__(self, world) -> None:
        self.world, self.pods = world, MemoryRoutes()
        self.pods.seen = Seen(None, 1)
        world.config = config()
        self.routing = Routing(self.pods, dict(world.config.services.rollout.pods), lambda: None, lambda: world.now_s)
        world.controller.routing, world.grants.in_force = self.routing, self.routing.weight
        world.controller.followers.append(self.routing.follow)
        self.dice, self.position = random.Random(7), 0

    def asks(self, rollout: dict | None, **more) -> None:
        self.world.config = config(rollout, **more)

    async def seconds(self, count: float, requests: int = 0, failing: float = 0.0) -> None:
        """Time in which requests come, and the candidate fails so many of them."""
        while count > 0:
            await self.routing.look()
            for _ in range(requests):
                self.serve(failing)
            await self.world.pass_time(1, 1)
            count -= 1

    def serve(self, failing: float) -> None:
        on_candidate = self.dice.random() * 10_000 < self.granted
        self.position += 1
        event = RequestEvent(
            kind=RequestEvent.KIND_FINISHED,
            log_id="log",
            sequence=self.position,
            request_id=str(self.position),
            unit=f"{self.position:x}",
            rollout_id=self.record.id,
            arm="candidate" if on_candidate else "baseline",
            weight=self.granted,
            failure="error" if on_candidate and self.dice.random() < failing else "",
            cache="hit" if self.position % 2 else "",
        )
        event.time.FromDatetime(self.world.store.time)
        self.world.events.add(event.SerializeToString(), self.world.store.time.timestamp())

    @property
    def record(self):
        [record] = self.world.store.records.values()
        return record

    @property
    def granted(self) -> int:
        splits = self.world.grants.current().splits if self.world.grants.sure() else ()
        return splits[0].weight if splits else 0


@pytest.fixture
def cluster(world) -> Cluster:
    """Guardrails of release 1.0, and one ready pod of the canary."""
    return Cluster(world)


async def test_what_is_granted_is_in_force_at_once_and_stands_until_the_config_runs_it(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(2)
    assert (cluster.granted, cluster.record.holds) == (2000, "")
    await cluster.seconds(40)
    assert cluster.record.state is State.PROMOTED and cluster.record.overlay
    assert cluster.granted == 10_000
    cluster.asks(BY_TIME, release="2.0")  # the stable pods are of it now
    await cluster.seconds(3)
    assert not cluster.record.overlay and cluster.granted == 0
    assert cluster.pods.set == [], "there are no routes"


async def test_a_candidate_without_a_ready_pod_gets_nothing_and_is_given_up_in_time(cluster):
    cluster.pods.seen = Seen(None, 0, why="ImagePullBackOff no such image")
    cluster.asks(BY_TIME)
    await cluster.seconds(30)
    assert cluster.record.state is State.PENDING and cluster.granted == 0
    assert cluster.record.reason == "waits: no pod of gr-canary is ready: ImagePullBackOff no such image"
    await cluster.seconds(40)
    assert cluster.record.state is State.ROLLED_BACK and "ImagePullBackOff" in cluster.record.reason


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ({"restarts": 2, "why": "OOMKilled, exit code 137"}, "started again 2 times (OOMKilled, exit code 137)"),
        ({"ready": 0}, "no pod of it has been ready for 10 s"),
    ],
)
async def test_a_release_that_breaks_down_goes_back_although_it_tells_nothing(cluster, trouble, why):
    cluster.asks({**BY_TIME, "steps": STAYS})
    await cluster.seconds(10)
    assert cluster.granted == 2000
    cluster.pods.seen = replace(cluster.pods.seen, **trouble)
    await cluster.seconds(2)
    if not cluster.pods.seen.ready:
        assert cluster.granted == 0, "nobody is sent where nobody is"
        assert cluster.record.holds == "no pod of gr-canary is ready"
    await cluster.seconds(15)
    assert cluster.record.state is State.ROLLED_BACK and why in cluster.record.reason
    assert cluster.granted == 0


async def test_pods_that_cannot_be_seen_hold_the_step_and_leave_users_where_they_are(cluster):
    """Whoever finds no candidate is judged by the stable release: nothing depends on seeing the pods."""
    cluster.asks(BY_TIME)
    await cluster.seconds(5)
    cluster.pods.away = "the API server cannot be reached"
    await cluster.seconds(30)
    assert (cluster.granted, cluster.record.step) == (2000, 0)
    assert cluster.record.holds == "its pods cannot be read: the API server cannot be reached"
    cluster.pods.away = ""
    await cluster.seconds(60)
    assert cluster.record.state is State.PROMOTED


async def test_a_release_that_fails_requests_is_rolled_back_by_its_numbers(cluster):
    cluster.asks({**BY_TIME, "steps": STAYS, "analysis": {"errors": {"max_increase": "2%"}, "total": None}})
    await cluster.seconds(5)
    await cluster.seconds(120, requests=20, failing=0.3)
    assert cluster.record.state is State.ROLLED_BACK
    assert cluster.record.reason.startswith("beyond its margin: errors")


async def test_a_release_that_is_no_worse_is_shown_to_be(cluster):
    steps = [{"weight": "50%", "at_least": "10s"}, {"weight": "100%"}]
    judged = {"errors": {"max_increase": "10%"}, "failures": None, "total": None}
    cluster.asks({**BY_TIME, "steps": steps, "analysis": judged})
    await cluster.seconds(5)
    await cluster.seconds(200, requests=20)
    assert cluster.record.state is State.PROMOTED


async def test_a_canary_that_is_taken_out_of_the_config_gets_nothing(cluster):
    cluster.asks({**BY_TIME, "steps": STAYS})
    await cluster.seconds(5)
    cluster.routing.take({})
    await cluster.seconds(3)
    assert cluster.granted == 0
    assert "services.rollout.pods does not name it" in cluster.record.holds


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"pods": {}}, "services.rollout.pods does not name it; the chart sets that with `guardrails.canary.enabled`"),
        ({"address": None}, "say in services.guardrails.canary_address where its second release listens"),
    ],
)
async def test_a_rollout_of_it_needs_a_second_release(world, made, message):
    world.config = config(**made)
    with pytest.raises(BadInput) as caught:
        await world.operations.start(
            TARGET, '{"candidate": {"release": "2"}, "steps": [{"weight": "100%"}]}', world.admin
        )
    assert message in caught.value.message and caught.value.param == "model"


async def test_a_candidate_is_a_release_and_nothing_else(world):
    world.config = config()
    with pytest.raises(BadInput) as caught:
        await world.operations.start(
            TARGET, '{"candidate": {"deployment": "small"}, "steps": [{"weight": "100%"}]}', world.admin
        )
    assert caught.value.param == "spec_json.candidate.release"


class Node(node_pb2_grpc.NodeServiceServicer):
    """A candidate that says what it is told to."""

    def __init__(self, runtime: RpcRuntime) -> None:
        self.rpc_runtime = runtime
        self.status = node_pb2.NodeStatus(ready=True, uptime_s=5)

    @served(callers=frozenset(SERVICES))
    async def GetStatus(self, request, call):
        return self.status


@pytest.fixture
async def candidate(tmp_path):
    """A process that is asked, and the peer to ask by."""
    write_keys(tmp_path / "signing", SERVICES)
    provider = make_provider("guardrails", "127.0.0.1:1", 0)
    runtime = RpcRuntime.create(
        "guardrails", Verifier("guardrails", tmp_path / "signing"), make_tracer(provider), CollectorRegistry()
    )
    server = aio.server()
    node = Node(runtime)
    node_pb2_grpc.add_NodeServiceServicer_to_server(node, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peer = Peer("guardrails", f"127.0.0.1:{port}", Signer("rollout", tmp_path / "signing"))
    yield node, peer, server
    await peer.close()
    await server.stop(0)
    provider.shutdown()


async def test_outside_of_kubernetes_the_candidate_itself_says_whether_it_is_ready(candidate):
    node, peer, server = candidate
    looks, settings = AskedPods(lambda: peer), Pods()
    assert await looks.look(settings) == Seen(None, 1)
    node.status = node_pb2.NodeStatus(ready=False, uptime_s=1, notes=["guardrails.standard: broken"])
    assert await looks.look(settings) == Seen(None, 0, 1, "guardrails.standard: broken")
    await server.stop(0)
    seen = await looks.look(settings)
    assert (seen.ready, seen.restarts) == (0, 1) and seen.why.startswith("it does not answer")
    with pytest.raises(NotReady, match="canary_address"):
        await AskedPods(lambda: None).look(settings)


async def test_who_names_a_service_is_looked_up_in_kubernetes_alone():
    asked, there = MemoryRoutes(), MemoryRoutes()
    asked.seen, there.seen = Seen(None, 1), Seen(None, 2)
    made = []

    def kubernetes():
        made.append(there)
        return there

    lookout = Lookout(kubernetes, asked)
    assert (await lookout.look(Pods())).ready == 1 and made == []
    assert (await lookout.look(Pods(canary="gr-canary"))).ready == 2
    await lookout.set_weight(Routes(http="front", stable="gw", canary="gw-canary"), 7)
    assert (there.set, asked.set, len(made)) == ([7], [], 1)
    await lookout.close()


async def test_no_pod_is_said_to_be_none_and_tried_again():
    lookout = Lookout(KubernetesRoutes.in_cluster, MemoryRoutes())
    for _ in range(2):
        with pytest.raises(NotReady, match="no pod"):
            await lookout.look(Pods(canary="gr-canary"))


class Core:
    """The two calls to Kubernetes that pods take."""

    def __init__(self, pods: list[dict]) -> None:
        self.pods, self.asked = pods, []

    async def read_namespaced_service(self, name, namespace):
        self.asked.append(name)
        return type("Service", (), {"spec": type("Spec", (), {"selector": {"app": "g", "track": "canary"}})})

    async def list_namespaced_pod(self, namespace, label_selector):
        self.asked.append(label_selector)
        return {"items": self.pods}


async def test_pods_of_a_service_without_routes_are_read_by_its_selector():
    ready = {"type": "Ready", "status": "True"}
    pod = {"metadata": {}, "status": {"conditions": [ready], "containerStatuses": [{"restartCount": 1}]}}
    api = type("Api", (), {"sanitize_for_serialization": staticmethod(lambda found: found)})()
    looks = object.__new__(KubernetesRoutes)
    looks._api, looks._namespace, looks._core = api, "here", Core([pod])
    assert await looks.look(Pods(canary="gr-canary")) == Seen(None, 1, 1)
    assert looks._core.asked == ["gr-canary", "app=g,track=canary"]


def test_only_two_services_have_pods_or_routes(tmp_path):
    with pytest.raises(ValueError, match="service/retrieval"):
        Config.model_validate({"rollouts": {"service/retrieval": BY_TIME}})
    assert Environment(data_dir=tmp_path, release="2.0", track="canary").release == "2.0"
