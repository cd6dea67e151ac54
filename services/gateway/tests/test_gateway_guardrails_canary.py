"""A new release of guardrails: the gateway puts each user on one release, asks it alone, and tells how it went."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest

from headrace_gateway.arms.guardrails import TARGET
from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.outcomes import Finishing
from headrace_gateway.calls import Options
from headrace_gateway.fakes import FakeGuardrails, Script
from headrace_gateway.guarding.decisions import Decisions
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split

OLD, NEW = "1.0", "2.0"
CONFIG = """
catalogue:
  tiny:
    format: onnx
    licence: MIT
    files: [{{name: model.onnx, size: 1, sha256: "{digest}", sources: [{{path: x}}]}}]
  minilm:
    format: onnx
    licence: MIT
    files: [{{name: model.onnx, size: 1, sha256: "{digest}", sources: [{{path: x}}]}}]
deployments:
  small: {{engine: triton-scripted, price: {{input_usd_per_million: 1, output_usd_per_million: 2}}}}
  minilm: {{engine: triton-python, task: embed, model: minilm, dimensions: 2}}
  kinds: {{engine: triton-python, task: classify, model: tiny, labels: [toxic, fine]}}
models:
  assistant: {{deployment: small, guardrails: standard, cache: {{}}}}
  plain: {{deployment: small}}
  minilm: {{deployment: minilm, guardrails: standard}}
tenants: {{dev: {{}}}}
guardrails:
  standard:
    window_chars: 50
    input: [{{check: ban_list, words: [falcon], action: flag}}, {check}]
    output: [{check}]
"""
CHECK = "{check: classifier, deployment: kinds, labels: [toxic], timeout_ms: 20%s}"
SENTENCE = "This is a sentence of fifty characters and some more. "


def grant(weight: int, *more: Split) -> Grant:
    candidate = json.dumps({"release": NEW})
    split = Split(rollout_id="r7", model=TARGET, salt="pepper", weight=weight, candidate_json=candidate)
    return Grant(lease_ms=15_000, splits=[split, *more])


class Two:
    """A gateway of fakes with two releases of guardrails."""

    def __init__(self, rig, weight: int, on_failure: str, clock=None) -> None:
        text = CONFIG.format(check=CHECK % on_failure, digest="0" * 64)
        leases = Leases(clock) if clock else Leases()
        self.rig = made = type(rig)(compile_table(Snapshot(parse(text), Path("headrace.yaml"))), leases=leases)
        self.stable, self.canary = made.guardrails, FakeGuardrails(NEW)
        self.stable.release = OLD
        self.there: FakeGuardrails | None = self.canary
        self.decisions = Decisions(self.stable, made.metrics.decisions_lost.inc, lambda: self.there)
        guards = Guards(self.stable, self.decisions, lambda: self.there)
        for part in (made.pipeline, made.vectors):
            object.__setattr__(part, "guards", guards)
        made.leases.take(grant(weight))

    @property
    def asked(self) -> tuple[int, int]:
        """How often the stable release and the candidate were."""
        return len(self.stable.asked), len(self.canary.asked)

    async def post(self, user: str = "ann", text: str = "hi", path: str = "/v1/chat/completions", **more):
        """The answer to a request and the events that tell of it."""
        asks = {"input": text} if path.endswith("embeddings") else {"messages": [{"role": "user", "content": text}]}
        body = {"model": "assistant", "user": user, **asks, **more}
        rig = self.rig
        transport = httpx.ASGITransport(AsgiFace(rig.application()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            answer = await http.post(path, json=body, headers={"authorization": "Bearer hr_dev"})
        before = len(rig.journal.events)
        finishing = Finishing(rig.journal, rig.metrics.arm, lambda _: None, lambda *_: None)
        for left in rig.left:
            finishing.record(left.ctx, left.status, left.error)
        rig.left.clear()
        return answer, rig.journal.events[before:]


@pytest.fixture
def two(rig):
    """Makes one; all users are on the candidate."""
    return lambda weight=10_000, on_failure="", clock=None: Two(rig, weight, on_failure, clock)


async def test_users_are_shared_out_by_weight_and_each_stays_with_one_release(two):
    world = two(3000)
    arms: dict[str, set[str]] = {}
    for user in [f"user {number % 200}" for number in range(400)]:
        _, [event] = await world.post(user, text=f"hi {len(world.rig.journal.events)}")
        arms.setdefault(user, set()).add(event.arm)
        assert (event.rollout_id, event.weight, event.kind) == ("r7", 3000, RequestEvent.KIND_FINISHED)
    assert all(len(found) == 1 for found in arms.values())
    counts = Counter(arm for [arm] in arms.values())
    assert 30 < counts["candidate"] < 90, "of 200 tosses at 30%"
    assert world.canary.asked and world.stable.asked


@pytest.mark.parametrize(("weight", "arm"), [(0, "baseline"), (10_000, "candidate")])
async def test_one_release_judges_all_that_a_request_has_checked(two, weight, arm):
    world = two(weight)
    world.rig.engine.scripts["small"] = [Script(texts=[SENTENCE] * 3)]
    answer, [event] = await world.post(text="a falcon", stream=True)
    assert answer.status_code == 200
    ours, theirs = (world.canary, world.stable) if weight else (world.stable, world.canary)
    assert theirs.asked == []
    directions = [one.direction for one in ours.asked]
    assert directions[0] == pb.DIRECTION_INPUT and directions.count(pb.DIRECTION_OUTPUT) >= 2
    assert (event.arm, event.failure, event.model) == (arm, "", "assistant")
    await world.decisions.stop()
    assert (len(ours.recorded), len(theirs.recorded)) == (1, 0)


async def test_vectors_are_judged_by_it_too(two):
    world = two()
    answer, [event] = await world.post(path="/v1/embeddings", model="minilm")
    assert (answer.status_code, event.arm, world.asked) == (200, "candidate", (0, 1)), answer.text


async def test_a_request_that_asks_nothing_says_nothing(two):
    world = two()
    answer, events = await world.post(model="plain")
    assert (answer.status_code, events, world.asked) == (200, [], (0, 0))


@pytest.mark.parametrize(("state", "failure"), [("away", "error"), ("hangs", "timeout"), ("checks", "error")])
@pytest.mark.parametrize("on_failure", ["", ", on_failure: open"])
async def test_a_broken_candidate_costs_its_users_nothing_and_is_told_as_failed(two, state, failure, on_failure):
    world = two(on_failure=on_failure)
    if state == "checks":
        failed = pb.Failure(check="classifier", reason="error", closed=True)
        world.canary.verdicts["hi"] = pb.CheckResponse(would=pb.ACTION_BLOCK, failures=[failed])
    else:
        setattr(world.canary, state, True)
    world.rig.engine.scripts["small"] = [Script(texts=[SENTENCE] * 2)]
    answer, [event] = await world.post(text="hi", stream=True)
    assert answer.status_code == 200 and SENTENCE.strip() in answer.text.replace("\\n", "")
    assert (event.arm, event.failure, event.error_code) == ("candidate", failure, "")
    assert len(world.canary.asked) == 1, "after that the stable release judges the rest of the request"
    assert world.stable.asked[0].direction == pb.DIRECTION_INPUT and len(world.stable.asked) >= 3


async def test_a_candidate_that_dies_in_the_middle_of_an_answer_costs_nothing(two):
    world = two()
    world.rig.engine.scripts["small"] = [Script(texts=[SENTENCE] * 4)]
    real = world.canary.check

    async def dies(request, sent):
        world.canary.away = len(world.canary.asked) >= 2
        return await real(request, sent)

    world.canary.check = dies
    answer, [event] = await world.post(stream=True)
    assert answer.text.count("fifty") == 4 and "content_filter" not in answer.text
    assert (event.arm, event.failure) == ("candidate", "error")


@pytest.mark.parametrize("on_failure", ["", ", on_failure: open"])
async def test_the_stable_release_is_measured_alike(two, on_failure):
    world = two(0, on_failure)
    world.stable.away = True
    answer, [event] = await world.post()
    assert (event.arm, event.failure) == ("baseline", "error")
    assert answer.status_code == (200 if on_failure else 503)
    assert world.canary.asked == [], "nobody of the baseline is put on what is tried"


async def test_with_both_away_a_closed_policy_lets_nothing_pass(two, rig, ask):
    world = two()
    world.stable.away = world.canary.away = True
    with pytest.raises(NotReady) as caught:
        await world.rig.pipeline.generate(world.rig.context(), ask("assistant"))
    assert caught.value.code == "guardrail_unavailable"


@pytest.mark.parametrize(("weight", "releases"), [(10_000, (OLD, "3.0")), (10_000, (OLD, "")), (0, (NEW, NEW))])
async def test_what_is_neither_release_counts_on_no_arm(two, weight, releases):
    world = two(weight)
    world.stable.release, world.canary.release = releases
    answer, events = await world.post()
    assert (answer.status_code, events) == (200, [])


async def test_a_stable_release_that_does_not_say_what_it_is_is_the_baseline(two):
    world = two(0)
    world.stable.release = ""
    _, [event] = await world.post()
    assert event.arm == "baseline"


async def test_a_verdict_of_the_candidate_is_final(two):
    world = two()
    bad = pb.Finding(check="classifier", kind="toxic", end=2, score=1, action=pb.ACTION_BLOCK)
    world.canary.verdicts["hi"] = pb.CheckResponse(would=pb.ACTION_BLOCK, findings=[bad])
    answer, [event] = await world.post()
    assert (answer.status_code, event.failure, world.asked) == (400, "blocked", (0, 1))


async def test_nobody_is_on_it_once_its_grant_has_lapsed_or_its_address_is_gone(two):
    now = 0.0
    world = two(clock=lambda: now)
    assert len((await world.post())[1]) == 1
    before = len(world.canary.asked)
    now = 16.0
    assert (await world.post(text="again"))[1] == []
    world.rig.leases.take(grant(10_000))
    world.there = None
    assert (await world.post(text="and again"))[1] == []
    assert len(world.canary.asked) == before


async def test_what_it_let_through_is_not_given_to_others(two):
    world = two()
    await world.post(text="the same")
    world.rig.leases.take(grant(0))
    answer, [event] = await world.post(text="the same")
    assert (event.arm, event.cache) == ("baseline", "miss")
    answer, [event] = await world.post(text="the same")
    assert event.cache == "hit", "its input was judged all the same"
    assert answer.status_code == 200


async def test_a_models_rollout_is_told_beside_it(two):
    world = two()
    model = Split(
        rollout_id="r1", model="assistant", salt="m", weight=10_000, candidate_json='{"guardrails": "standard"}'
    )
    world.rig.leases.take(grant(10_000, model))
    _, [release, swap] = await world.post()
    assert (release.rollout_id, release.arm) == ("r7", "candidate")
    assert (swap.rollout_id, swap.arm) == ("r1", "candidate")
    assert release.unit != swap.unit


async def test_copies_and_suites_are_nobodys(two, ask):
    world = two()
    copy = world.rig.context()
    copy.shadow = True
    await (await world.rig.pipeline.generate(copy, ask("assistant"))).whole()
    assert copy.trial is None and world.asked[1] == 0


async def test_the_trace_says_which_arm_and_that_somebody_stood_in(two, ask):
    world = two()
    world.canary.away = True
    ctx = world.rig.context()
    await (await world.rig.pipeline.generate(ctx, ask("assistant", options=Options(user="ann")))).whole()
    assert ctx.attributes["headrace.guardrails.rollout_id"] == "r7"
    assert ctx.attributes["headrace.guardrails.arm"] == "candidate"
    [hop] = [one for one in ctx.hops if one.name == "guardrails Check"][:1]
    assert hop.attributes["headrace.guard.stood_in"] is True


async def test_decisions_that_the_candidate_does_not_take_are_the_stable_ones(two):
    world = two()
    await world.post(text="a falcon")
    world.canary.away = True
    await world.decisions.stop()
    assert (len(world.stable.recorded), len(world.canary.recorded)) == (1, 0)
