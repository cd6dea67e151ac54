"""Rollouts of our own services: a release gets weight by routes, and is judged by what its gateways tell."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from headrace_kit.config import Config
from headrace_kit.errors import BadInput, NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_rollout.adapters.memory_routes import MemoryRoutes
from headrace_rollout.domain.records import State
from headrace_rollout.domain.routing import Routing
from headrace_rollout.ports import Seen

TARGET = "service/gateway"
ROUTES = {
    "http": "front",
    "grpc": "front",
    "stable": "gw",
    "canary": "gw-canary",
    "settle": "5s",
    "ready_within": "60s",
}
STEPS = [{"weight": "20%", "at_least": "10s"}, {"weight": "50%", "at_least": "10s"}, {"weight": "100%"}]
BY_TIME = {"candidate": {"release": "2.0"}, "steps": STEPS}


def config(rollout: dict | None, release: str = "1.0", **routes: object) -> Config:
    return Config.model_validate(
        {
            "services": {"gateway": {"release": release}, "rollout": {"routes": {"gateway": {**ROUTES, **routes}}}},
            "rollouts": {TARGET: rollout} if rollout else {},
        }
    )


class Cluster:
    """A world whose gateways are shared out by routes."""

    def __init__(self, world, **routes: object) -> None:
        self.world, self.routes, self.given = world, MemoryRoutes(), routes
        world.config = config(None, **routes)
        settings = dict(world.config.services.rollout.routes)
        self.routing = Routing(self.routes, settings, lambda: None, lambda: world.now_s)
        world.controller.routing, world.grants.in_force = self.routing, self.routing.weight
        world.controller.followers.append(self.routing.follow)
        self.dice = random.Random(7)
        self.position = 0

    def asks(self, rollout: dict | None, release: str = "1.0") -> None:
        self.world.config = config(rollout, release, **self.given)

    async def seconds(self, count: float, requests: int = 0, failing: float = 0.0) -> None:
        """Time in which the routes share requests out, and the candidate fails so many of them."""
        while count > 0:
            await self.routing.look()
            for _ in range(requests):
                self.serve(failing)
            await self.world.pass_time(1, 1)
            count -= 1

    def serve(self, failing: float) -> None:
        on_candidate = self.dice.random() * 10_000 < (self.routes.seen.weight or 0)
        grants = self.world.grants
        [split] = (grants.current().splits if grants.sure() else ()) or [None]
        self.position += 1
        event = RequestEvent(
            kind=RequestEvent.KIND_FINISHED,
            log_id="log",
            sequence=self.position,
            request_id=str(self.position),
            unit=f"{self.position:x}",
            rollout_id=split.rollout_id if split else "",
            arm="candidate" if on_candidate else "baseline",
            weight=split.weight if split else 0,
            failure="error" if on_candidate and self.dice.random() < failing else "",
        )
        event.time.FromDatetime(self.world.store.time)
        self.world.events.add(event.SerializeToString(), self.world.store.time.timestamp())

    @property
    def record(self):
        [record] = self.world.store.records.values()
        return record

    @property
    def judged_by(self) -> int:
        """The weight that gateways write into what they tell."""
        splits = self.world.grants.current().splits
        return splits[0].weight if splits else 0


@pytest.fixture
def cluster(world) -> Cluster:
    """Gateways of release 1.0, and one ready pod of the canary."""
    made = Cluster(world)
    made.routes.seen = Seen(0, 1)
    return made


async def test_a_release_gets_its_weights_step_by_step_and_stands_until_the_config_runs_it(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(60)
    assert cluster.routes.set == [2000, 5000, 10_000]
    assert cluster.record.state is State.PROMOTED and cluster.record.overlay
    cluster.asks(BY_TIME, release="2.0")  # the stable gateways are of it now
    await cluster.seconds(3)
    assert not cluster.record.overlay
    assert cluster.routes.set[-1] == 0


async def test_nothing_is_judged_until_all_proxies_have_the_weight(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(3)
    assert cluster.routes.seen.weight == 2000 and cluster.judged_by == 0
    assert "proxies may not all have it" in cluster.record.holds
    await cluster.seconds(5)
    assert cluster.judged_by == 2000
    assert cluster.record.served_s < 5


async def test_a_candidate_without_a_ready_pod_gets_nothing_and_is_given_up_in_time(cluster):
    cluster.routes.seen = Seen(0, 0, why="ImagePullBackOff no such image")
    cluster.asks(BY_TIME)
    await cluster.seconds(30)
    assert cluster.record.state is State.PENDING
    assert cluster.record.reason == "waits: no pod of gw-canary is ready: ImagePullBackOff no such image"
    await cluster.seconds(40)
    assert cluster.record.state is State.ROLLED_BACK
    assert "ImagePullBackOff" in cluster.record.reason
    assert cluster.routes.set == []


async def test_a_release_that_fails_requests_is_rolled_back_by_its_numbers(cluster):
    steps = [{"weight": "20%", "at_least": "1h"}, {"weight": "100%"}]
    cluster.asks({**BY_TIME, "steps": steps, "analysis": {"errors": {"max_increase": "2%"}, "total": None}})
    await cluster.seconds(120, requests=20, failing=0.3)
    assert cluster.record.state is State.ROLLED_BACK
    assert cluster.record.reason.startswith("beyond its margin: errors")
    assert cluster.routes.set == [2000, 0]


async def test_a_release_that_is_no_worse_is_shown_to_be(cluster):
    steps = [{"weight": "50%", "at_least": "10s"}, {"weight": "100%"}]
    judged = {"errors": {"max_increase": "10%"}, "failures": None, "total": None}
    cluster.asks({**BY_TIME, "steps": steps, "analysis": judged})
    await cluster.seconds(200, requests=20)
    assert cluster.record.state is State.PROMOTED
    [advanced] = [made for made in cluster.world.store.decisions if made.action == "advance"]
    assert [verdict["state"] for verdict in advanced.verdicts] == ["within"]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ({"restarts": 2, "why": "OOMKilled, exit code 137"}, "started again 2 times (OOMKilled, exit code 137)"),
        ({"ready": 0}, "no pod of it has been ready for 10 s"),
    ],
)
async def test_a_release_that_breaks_down_goes_back_although_it_tells_nothing(cluster, trouble, why):
    cluster.asks({**BY_TIME, "steps": [{"weight": "20%", "at_least": "1h"}, {"weight": "100%"}]})
    await cluster.seconds(10)
    assert cluster.routes.seen.weight == 2000
    cluster.routes.seen = replace(cluster.routes.seen, **trouble)
    await cluster.seconds(2)
    if not cluster.routes.seen.ready:
        assert cluster.routes.seen.weight == 0, "proxies would answer with errors"
    await cluster.seconds(15)
    assert cluster.record.state is State.ROLLED_BACK
    assert why in cluster.record.reason
    assert cluster.routes.seen.weight == 0


async def test_a_weight_that_somebody_changed_is_set_again(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(3)
    cluster.routes.seen = replace(cluster.routes.seen, weight=None)  # an upgrade of the chart writes one rule anew
    await cluster.seconds(1)
    assert cluster.routes.set == [2000, 2000]


async def test_routes_that_cannot_be_read_hold_the_step_and_judge_nothing(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(8)
    cluster.routes.away = "the API server cannot be reached"
    await cluster.seconds(30)
    assert cluster.judged_by == 0
    assert cluster.record.holds == "its routes cannot be read: the API server cannot be reached"
    assert cluster.record.step == 0
    cluster.routes.away = ""
    await cluster.seconds(60)
    assert cluster.record.state is State.PROMOTED


async def test_an_abort_takes_the_weight_away_at_the_next_look(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(3)
    await cluster.world.operations.abort(cluster.record.id, "", cluster.world.admin)
    await cluster.routing.look()
    assert cluster.routes.seen.weight == 0


async def test_nobody_moves_weights_on_what_may_no_longer_be_true(cluster):
    cluster.asks(BY_TIME)
    await cluster.seconds(3)
    cluster.routes.seen = replace(cluster.routes.seen, weight=0)
    cluster.world.now_s += 6  # without a look at the store
    await cluster.routing.look()
    assert cluster.routes.seen.weight == 0


async def test_weights_that_somebody_else_sets_are_judged_by_and_left_alone(world):
    cluster = Cluster(world, set_weights=False)
    cluster.routes.seen = Seen(1500, 1)
    steps = [{"weight": "50%", "approval": True}, {"weight": "100%"}]
    cluster.asks({**BY_TIME, "steps": steps, "analysis": {"errors": {"max_increase": "2%"}, "total": None}})
    await cluster.seconds(8)
    assert cluster.judged_by == 1500 and cluster.routes.set == []
    await cluster.seconds(120, requests=20, failing=0.4)
    assert cluster.record.state is State.ROLLED_BACK
    assert cluster.routes.set == []


async def test_a_rollout_of_a_service_needs_its_routes(world):
    with pytest.raises(BadInput, match="has no routes that share out its requests") as caught:
        await world.operations.start(
            TARGET, '{"candidate": {"release": "2"}, "steps": [{"weight": "100%"}]}', world.admin
        )
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"candidate": {"deployment": "small"}}, "candidate.release"),
        ({"candidate": {"release": "2.0", "image": "x"}}, "candidate.image"),
        ({"steps": [{"shadow": "5%"}, {"weight": "100%"}]}, "steps.0.shadow"),
        ({"steps": [{"evaluate": "golden"}, {"weight": "100%"}]}, "steps.0.evaluate"),
        ({"analysis": {"pairs": {"exact": {}}}}, "analysis.pairs"),
        ({"fresh_baseline": {}}, "fresh_baseline"),
    ],
)
def test_what_a_service_cannot_have_is_refused_by_its_place(spec, where):
    with pytest.raises(ValueError, match=r"release|weight|shadows") as caught:
        config({**BY_TIME, **spec})
    context = caught.value.errors()[0]["ctx"]
    assert ".".join(map(str, context["where"])) == f"rollouts.{TARGET}.{where}"


def test_only_services_with_routes_are_targets():
    with pytest.raises(ValueError, match="service/tracing"):
        Config.model_validate({"rollouts": {"service/tracing": BY_TIME}})


async def test_memory_routes_can_be_away():
    routes = MemoryRoutes()
    routes.away = "gone"
    with pytest.raises(NotReady):
        await routes.set_weight(config(None).services.rollout.routes["gateway"], 1)


async def test_routes_of_a_later_config_are_followed(world):
    cluster = Cluster(world)
    settings = dict(world.config.services.rollout.routes)
    cluster.routes.seen = replace(cluster.routes.seen, ready=1)
    cluster.routing.take({})
    cluster.asks(BY_TIME)
    await cluster.seconds(3)
    [record] = world.store.records.values()
    assert (record.state, cluster.routes.seen.weight) == (State.PENDING, 0)
    assert "services.rollout.routes does not name it" in record.reason
    cluster.routing.take(settings)
    await cluster.seconds(4)
    assert cluster.routes.seen.weight == 2000
