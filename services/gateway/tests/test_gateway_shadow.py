"""Copies of requests for a candidate: off the path, within their limits, compared and marked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from headrace_gateway.arms.grade import Said, grade
from headrace_gateway.arms.outcomes import Finishing
from headrace_gateway.arms.referee import JUDGES, Referee
from headrace_gateway.arms.shadow import SCORE, SHADOW_OF, Allowance, Shadows, chosen
from headrace_gateway.arms.similar import Alike
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Config, Snapshot
from headrace_kit.errors import Upstream
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import Message, ResponseFormat, Sampling
from headrace_protos.rollout.v1.messages_pb2 import Grant, PairJudge, Split


def grant(shadow=10_000, weight=0, model="plain", candidate=None, **more):
    limits = {"shadow_concurrency": 2, "shadow_nano_usd_per_hour": 10**9} | more
    patch = json.dumps(candidate or {"deployment": "large"})
    split = Split(rollout_id="r1", model=model, salt="s", weight=weight, shadow=shadow, candidate_json=patch, **limits)
    return Grant(lease_ms=15_000, splits=[split])


@pytest.fixture
def shadowing(rig):
    """Serves a call and leaves, as the door does; `rig.shadows` runs the copies."""
    rig.copies = Counter()
    rig.recorded = []

    async def run(ctx, call):
        await (await rig.pipeline.generate(ctx, call)).whole()

    def record(ctx, status, error):
        rig.recorded.append((ctx, status, error))

    async def said(ctx, call):
        chunks, _ = await (await rig.pipeline.generate(ctx, call)).whole()
        return chunks[0].text

    rig.shadows = Shadows(
        run,
        Alike(rig.attempts),
        Referee(said, record),
        rig.journal,
        record,
        lambda _, outcome: rig.copies.update([outcome]),
        rig.clock,
    )
    leaving = Finishing(rig.journal, rig.metrics.arm, rig.shadows.begin, record)

    async def serve(call):
        ctx = rig.context()
        answer = await (await rig.pipeline.generate(ctx, call)).whole()
        leaving.record(ctx, 200, "")
        return ctx, answer

    return serve


def copies(rig):
    return [event for event in rig.journal.events if event.kind == event.KIND_FINISHED and event.shadow]


def scores(event):
    return {pair.metric: (pair.baseline, pair.candidate) for pair in event.pairs}


async def test_a_copy_runs_after_the_answer_and_is_compared(rig, ask, shadowing):
    rig.engine.scripts = {"small": [Script(("a", " b"))], "large": [Script(("a", "b", "c", "d"))]}
    rig.leases.take(grant())
    ctx, ([answer], _) = await shadowing(ask("plain", "hi", end_user="u"))
    assert answer.text == "a b"
    assert [call.deployment for call in rig.engine.calls] == ["small"], "nothing ran beside the answer"
    await rig.shadows.idle()
    [event] = copies(rig)
    assert (event.rollout_id, event.arm, event.unit, event.failure) == ("r1", "candidate", ctx.unit, "")
    assert event.request_id != ctx.request_id and event.trace_id == ctx.trace_id
    assert scores(event) == {"exact": (1, 0), "length": (1, 0.5)}
    assert rig.copies == {"done": 1}
    rows = [row for row in rig.closed() if row.deployment == "large"]
    assert [(row.shadow, row.arm, row.tenant) for row in rows] == [(True, "candidate", "dev")]
    assert not any(row.shadow for row in rig.closed() if row.deployment == "small")


async def test_the_copy_is_what_the_caller_sent_not_what_stages_made_of_it(rig, ask, shadowing):
    rig.leases.take(grant(model="guarded", candidate={"guardrails": None, "deployment": "large"}))
    await shadowing(ask("guarded", "write to a@example.com"))
    await rig.shadows.idle()
    sent = {call.deployment: call.request.messages[0].parts[0].text for call in rig.engine.calls}
    assert "a@example.com" not in sent["small"]
    assert "a@example.com" in sent["large"]


async def test_a_copy_costs_the_caller_nothing(rig, ask, shadowing):
    rig.leases.take(grant())
    ctx, _ = await shadowing(ask("plain"))
    before = ctx.cost_nano_usd
    await rig.shadows.idle()
    assert ctx.cost_nano_usd == before
    shadow = next(entry for entry, _, _ in rig.recorded if entry.shadow)
    assert shadow.purse is None and shadow.cost_nano_usd > 0


async def test_a_candidate_that_fails_has_nothing_of_any_score(rig, ask, shadowing):
    rig.engine.scripts = {"large": [Script(texts=(), error=Upstream("down"))]}
    rig.leases.take(grant())
    asked = Sampling(response_format=ResponseFormat(type="json_object"))
    rig.engine.scripts["small"] = [Script(('{"a": 1}',))]
    await shadowing(ask("plain", sampling=asked))
    await rig.shadows.idle()
    [event] = copies(rig)
    assert event.failure == "error"
    assert scores(event) == {"exact": (1, 0), "length": (1, 0), "json": (1, 0)}
    assert rig.copies == {"failed": 1}


async def test_requests_on_the_candidate_and_ones_that_failed_are_not_copied(rig, ask, shadowing):
    rig.leases.take(grant(weight=10_000))
    await shadowing(ask("plain"))
    rig.leases.take(grant())
    rig.engine.scripts = {"small": [Script(texts=(), error=Upstream("down"))]}
    ctx = rig.context()
    with pytest.raises(Upstream):
        await rig.pipeline.generate(ctx, ask("plain"))
    rig.shadows.begin(ctx)
    await rig.shadows.idle()
    assert copies(rig) == []


async def test_no_more_at_a_time_than_allowed_and_none_waits(rig, ask, shadowing):
    gate = asyncio.Event()
    rig.engine.scripts = {"large": [Script(gate=gate)]}
    rig.leases.take(grant(shadow_concurrency=1))
    for _ in range(3):
        await shadowing(ask("plain"))
        await asyncio.sleep(0)
    gate.set()
    await rig.shadows.idle()
    assert rig.copies == {"busy": 2, "done": 1}


async def test_no_more_money_than_allowed_in_an_hour(rig, ask, shadowing):
    rig.leases.take(grant(shadow_nano_usd_per_hour=1))
    for _ in range(3):
        await shadowing(ask("plain"))
        await rig.shadows.idle()
    assert rig.copies == {"done": 1, "spent": 2}
    now = [0.0]
    money = Allowance(lambda: now[0])
    assert money.left("r", 3600) == 3600
    money.spent("r", 5000)
    assert money.left("r", 3600) < 0
    now[0] += 1500
    assert money.left("r", 3600) == 100
    now[0] += 86_400
    assert money.left("r", 3600) == 3600


async def test_a_rollout_that_ended_meanwhile_leaves_no_copy(rig, ask, shadowing):
    rig.leases.take(grant())
    await shadowing(ask("plain"))
    rig.leases.take(Grant(lease_ms=15_000))
    await rig.shadows.idle()
    assert copies(rig) == []
    assert [call.deployment for call in rig.engine.calls] == ["small"]


async def test_stopping_ends_copies(rig, ask, shadowing):
    rig.engine.scripts = {"large": [Script(gate=asyncio.Event())]}
    rig.leases.take(grant())
    await shadowing(ask("plain"))
    await asyncio.sleep(0)
    await rig.shadows.stop()
    [event] = copies(rig)
    assert not event.pairs and event.error_code == "client_closed_request"


async def test_what_answers_mean_is_compared_by_vectors(rig, ask, shadowing):
    rig.leases.take(grant(shadow_similarity="minilm"))
    await shadowing(ask("plain"))
    await rig.shadows.idle()
    [event] = copies(rig)
    baseline, candidate = scores(event)["similarity"]
    assert baseline == 1 and 0 <= candidate <= 1
    [row] = [row for row in rig.closed() if row.deployment == "minilm"]
    assert row.shadow


def judge(**more):
    return PairJudge(**({"model": "sturdy", "criteria": "Short?", "share": 10_000, "nano_usd_per_hour": 10**9} | more))


def says(*verdicts, **deployments):
    """The judge runs on `small`, as the baseline does: its first answer is the baseline's."""
    scripts = {"small": [Script(("given",)), *(Script((f'{{"better": "{one}"}}',)) for one in verdicts)]}
    return scripts | {"large": [Script(("tried",))]} | deployments


@pytest.mark.parametrize(
    ("verdicts", "pair"),
    [(("B", "A"), (0, 1)), (("A", "B"), (1, 0)), (("A", "A"), (0.5, 0.5)), (("TIE", "TIE"), (0.5, 0.5))],
)
async def test_a_model_compares_both_answers_in_both_orders(rig, ask, shadowing, verdicts, pair):
    rig.engine.scripts = says(*verdicts)
    rig.leases.take(grant(shadow_judge=judge()))
    ctx, _ = await shadowing(ask("plain", "what?"))
    await rig.shadows.idle()
    [event] = copies(rig)
    assert scores(event)["judge"] == pair
    one, other = [call.request for call in rig.engine.calls if call.deployment == "small"][1:]
    texts = [asked.messages[0].parts[0].text for asked in (one, other)]
    assert all("Short?" in text and "what?" in text for text in texts)
    assert texts[0].index("given") < texts[0].index("tried") and texts[1].index("tried") < texts[1].index("given")
    assert (one.sampling.temperature, one.sampling.response_format.type) == (0, "json_schema")
    rows = [row for row in rig.closed() if row.deployment == "small"]
    assert [row.shadow for row in rows] == [False, True, True], "nobody's budget pays for the judge"
    assert ctx.outcome.stages and rig.copies == {"done": 1, "judged": 1}
    questions = [entry for entry, _, _ in rig.recorded if JUDGES in entry.attributes]
    assert {entry.attributes[JUDGES] for entry in questions} == {event.request_id}
    assert {entry.trace_id for entry in questions} == {ctx.trace_id}


@pytest.mark.parametrize("failing", [Script(("I cannot say",)), Script(texts=(), error=Upstream("down"))])
async def test_a_judge_that_says_nothing_is_told_and_gives_no_score(rig, ask, shadowing, failing):
    rig.engine.scripts = says() | {"small": [Script(("given",)), failing]}
    rig.leases.take(grant(shadow_judge=judge(model="plain")))
    await shadowing(ask("plain"))
    await rig.shadows.idle()
    [event] = copies(rig)
    assert [(pair.metric, pair.failed) for pair in event.pairs if pair.failed] == [("judge", True)]
    assert "exact" in scores(event) and rig.copies == {"done": 1, "unjudged": 1}


async def test_a_model_that_is_gone_cannot_judge(rig, ask, shadowing):
    rig.engine.scripts = says()
    rig.leases.take(grant(shadow_judge=judge(model="gone")))
    await shadowing(ask("plain"))
    await rig.shadows.idle()
    assert rig.copies == {"done": 1, "unjudged": 1}


@pytest.mark.parametrize(
    ("given", "tried", "pair"),
    [
        ("a  b", Script(("a b",)), (0.5, 0.5)),
        ("a", Script(("",)), (1, 0)),
        ("a", Script(texts=(), error=Upstream("down")), (1, 0)),
        (" ", Script(("b",)), None),
    ],
)
async def test_what_needs_no_judge_is_not_asked(rig, ask, shadowing, given, tried, pair):
    rig.engine.scripts = {"small": [Script((given,))], "large": [tried]}
    rig.leases.take(grant(shadow_judge=judge()))
    await shadowing(ask("plain"))
    await rig.shadows.idle()
    [event] = copies(rig)
    assert scores(event).get("judge") == pair
    assert [call.deployment for call in rig.engine.calls].count("small") == 1


async def test_a_judge_has_a_share_and_money_of_its_own(rig, ask, shadowing):
    rig.engine.scripts = says("B", "A")
    rig.leases.take(grant(shadow_judge=judge(nano_usd_per_hour=1)))
    for _ in range(2):
        await shadowing(ask("plain"))
        await rig.shadows.idle()
        rig.engine.scripts = says("B", "A")
    assert rig.copies == {"done": 2, "judged": 1, "judge_spent": 1}
    rig.leases.take(grant(shadow_judge=judge(share=0)))
    await shadowing(ask("plain"))
    await rig.shadows.idle()
    assert rig.copies["done"] == 3 and rig.copies["judged"] == 1


async def test_a_judge_without_guardrails_sees_no_more_than_the_model_that_is_swapped(rig, ask, shadowing):
    rig.engine.scripts = says("A", "A")
    rig.leases.take(grant(model="guarded", shadow_judge=judge()))
    await shadowing(ask("guarded", "write to a@example.com"))
    await rig.shadows.idle()
    assert rig.copies["judged"] == 1
    asked = [call.request.messages[0].parts[0].text for call in rig.engine.calls if call.deployment == "small"]
    assert len(asked) == 3 and not any("a@example.com" in text for text in asked)


@pytest.mark.parametrize("kept", ["redacted", "full", "off"])
async def test_both_answers_stand_in_one_trace_as_the_tenant_has_its_content_kept(rig, ask, shadowing, told, kept):
    tree = rig.table.config.model_dump(mode="json")
    tree.setdefault("tenants", {}).setdefault("dev", {})["trace_content"] = kept
    rig.table = compile_table(Snapshot(Config.model_validate(tree), Path("headrace.yaml")))
    rig.engine.scripts = {"small": [Script(("given",))], "large": [Script(("tried",))]}
    rig.leases.take(grant())
    ctx, _ = await shadowing(ask("plain", "asked"))
    await rig.shadows.idle()
    ended = {one.span_id: (one, told(one, status, error)[0]) for one, status, error in rig.recorded}
    (copy,) = [root for _, root in ended.values() if SHADOW_OF in root.attributes]
    copied, original = ended[copy.span_id][0], ended[copy.parent_span_id][1]
    assert copy.attributes[SHADOW_OF] == ctx.request_id
    assert copied.trace_id == ctx.trace_id
    assert (original.attributes[genai.ARM], copy.attributes[genai.ARM]) == ("baseline", "candidate")
    assert copy.attributes[f"{SCORE}.exact.candidate"] == 0
    assert copy.attributes[f"{SCORE}.exact.baseline"] == 1
    if kept == "off":
        assert not any(one.content for one, _ in ended.values())
    else:
        assert ctx.content.said().texts == {0: "given"}
        said = copied.content.said()
        assert said.texts == {0: "tried"} and Message.FromString(said.messages[0]).parts[0].text == "asked"


def test_a_share_of_requests_is_copied():
    found = sum(chosen("r", f"request-{number}", 1000) for number in range(20_000))
    assert abs(found - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    assert not any(chosen("r", f"request-{number}", 0) for number in range(1000))


@pytest.mark.parametrize(
    ("given", "answer", "expected"),
    [
        (Said("a  b", "", 2), Said("a b\n", "", 2), {"exact": 1, "length": 1}),
        (Said("a", "", 4), Said("b", "", 1), {"exact": 0, "length": 0.25}),
        (Said("", "empty", 0), Said("", "empty", 0), {"exact": 1, "length": 1}),
        (Said("x", "", 1), None, {"exact": 0, "length": 0}),
        (Said("{}", "", 1, "json_object"), Said("no", "invalid", 1), {"exact": 0, "length": 1, "json": 0}),
        (Said("no", "invalid", 1, "json_object"), Said("{}", "", 1), {"exact": 0, "length": 1, "json": 1}),
        (
            Said("a", "", 1, grounded=1.0),
            Said("b", "", 1, grounded=0.5),
            {"exact": 0, "length": 1, "groundedness": 0.5},
        ),
        (Said("a", "", 1, grounded=1.0), None, {"exact": 0, "length": 0, "groundedness": 0}),
        (Said("a", "", 1, grounded=1.0), Said("b", "", 1), {"exact": 0, "length": 1}),
        (Said("a", "", 1), Said("b", "", 1, grounded=1.0), {"exact": 0, "length": 1}),
    ],
)
def test_grades(given, answer, expected):
    assert grade(given, answer) == expected
