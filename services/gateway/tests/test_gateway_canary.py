"""A new release of the gateway: each process is on an arm as a whole, and tells of what routes shared out to it."""

from __future__ import annotations

import json

import httpx
import pytest

from headrace_gateway.arms.canary import ROUTED, TARGET
from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.outcomes import Finishing
from headrace_gateway.fakes import Script
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.ledger.log import EventLog
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.running import Running
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split

STABLE, CANARY = Running("1.0", "stable"), Running("2.0", "canary")
HI = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}


def grant(weight: int, release: str = "2.0", *more: Split) -> Grant:
    candidate = json.dumps({"release": release})
    own = Split(rollout_id="r9", model=TARGET, salt="s", weight=weight, candidate_json=candidate)
    return Grant(lease_ms=15_000, splits=[own, *more])


@pytest.fixture
def gateway(rig, table):
    """Makes a gateway of a release, with a grant."""

    def make(running: Running, granted: Grant | None = None):
        made = type(rig)(table, leases=Leases(running=running))
        if granted is not None:
            made.leases.take(granted)
        return made

    return make


async def serve(rig, path="/v1/chat/completions", body=HI, key="hr_dev", routed=True) -> list[RequestEvent]:
    """The finished events of one request over HTTP."""
    headers = {"authorization": f"Bearer {key}"} | ({ROUTED: "1"} if routed else {})
    transport = httpx.ASGITransport(AsgiFace(rig.application()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        await http.post(path, json=body, headers=headers)
    before = len(rig.journal.events)
    finishing = Finishing(rig.journal, rig.metrics.arm, lambda _: None, lambda *_: None)
    for left in rig.left:
        finishing.record(left.ctx, left.status, left.error)
    rig.left.clear()
    return rig.journal.events[before:]


@pytest.mark.parametrize(("running", "arm"), [(STABLE, "baseline"), (CANARY, "candidate")])
async def test_a_process_is_on_an_arm_by_what_it_runs(gateway, running, arm):
    rig = gateway(running, grant(500))
    [event] = await serve(rig)
    assert (event.kind, event.rollout_id, event.arm) == (RequestEvent.KIND_FINISHED, "r9", arm)
    assert (event.weight, event.failure, event.model) == (500, "", "plain")
    assert event.segment["tenant"] == "dev" and event.ended_us > 0
    [again] = await serve(rig)
    assert again.unit != event.unit, "a proxy tosses for each request"


async def test_what_no_route_shared_out_is_nobodys(gateway):
    rig = gateway(CANARY, grant(500))
    assert await serve(rig, routed=False) == []
    assert await serve(rig, path="/v1/admin/rollouts") == []


@pytest.mark.parametrize(
    ("running", "granted"),
    [
        (STABLE, None),
        (CANARY, None),
        (Running("3.0", "canary"), grant(500)),  # somebody changed the image and not the rollout
    ],
)
async def test_a_process_that_is_neither_is_on_no_arm(gateway, running, granted):
    assert await serve(gateway(running, granted)) == []


async def test_a_stable_process_of_the_candidates_release_is_the_candidate(gateway):
    [event] = await serve(gateway(Running("2.0", "stable"), grant(500)))
    assert event.arm == "candidate"


async def test_a_request_is_told_with_the_weight_of_when_it_came(gateway):
    rig = gateway(STABLE, grant(500))
    visit = rig.door.open(rig.context(routed=True).arrival)
    rig.leases.take(grant(2500))
    assert visit.ctx.canary.weight == 500


async def test_no_arm_outlives_its_lease(gateway, rig, table):
    now = 0.0
    made = type(rig)(table, leases=Leases(lambda: now, CANARY))
    made.leases.take(grant(500))
    assert len(await serve(made)) == 1
    now = 16.0
    assert await serve(made) == []


async def test_failures_are_told_and_limits_of_the_caller_are_not(gateway):
    rig = gateway(CANARY, grant(500))
    rig.engine.scripts["small"] = [Script(error=Upstream("gone"))]
    [event] = await serve(rig)
    assert event.failure == "error"
    [event] = await serve(rig, key="hr_nobody")
    assert event.failure == "refused", "a release that takes no keys must be seen"
    rig.max_in_flight = 0
    [event] = await serve(rig)
    assert event.failure == "error", "one that cannot keep up, too"
    ctx = rig.door.open(rig.context(routed=True).arrival).ctx
    before = len(rig.journal.events)
    finishing = Finishing(rig.journal, rig.metrics.arm, lambda _: None, lambda *_: None)
    finishing.record(ctx, 429, "budget_exceeded")
    assert len(rig.journal.events) == before


async def test_a_models_rollout_is_told_beside_it(gateway):
    model = Split(rollout_id="r1", model="plain", salt="m", weight=10_000, candidate_json='{"deployment": "large"}')
    rig = gateway(CANARY, grant(500, "2.0", model))
    release, swap = await serve(rig)
    assert (release.rollout_id, release.arm, release.weight) == ("r9", "candidate", 500)
    assert (swap.rollout_id, swap.arm, swap.weight) == ("r1", "candidate", 10_000)
    assert rig.registry.get_sample_value(
        "headrace_gateway_arm_requests_total", {"model": TARGET, "arm": "candidate", "failure": ""}
    )


async def test_events_spans_and_metrics_say_what_runs_here(gateway, tmp_path, told):
    log = EventLog(tmp_path, 0.001, running=CANARY)
    await log.start()
    await log.opened(RequestEvent(request_id="a"))
    await log.stop()
    [(_, payload)] = log.segments.read(0, 10)
    event = RequestEvent.FromString(payload)
    assert (event.track, event.release) == ("canary", "2.0")

    rig = gateway(CANARY, grant(500))
    visit = rig.door.open(rig.context(routed=True).arrival)
    root = told(visit.ctx, running=CANARY)[0].attributes
    assert (root["headrace.track"], root["headrace.release"]) == ("canary", "2.0")
    assert (root["headrace.canary.rollout_id"], root["headrace.canary.arm"]) == ("r9", "candidate")

    registry = type(rig.registry)()
    metrics = Metrics(registry, CANARY)
    metrics.request(visit.ctx, 200)
    assert registry.get_sample_value("headrace_gateway_running_info", {"track": "canary", "release": "2.0"}) == 1
    [sample] = [
        one for family in registry.collect() for one in family.samples if one.name == "headrace_gateway_requests_total"
    ]
    assert sample.labels["track"] == "canary"
