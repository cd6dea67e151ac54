"""Which traces keep their spans, and the sweep over those that are over."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.spans import Facts, Feedback, Summary
from headrace_tracing.domain.summaries import merge, summarise
from headrace_tracing.domain.thinning import OUTCOMES, Rules, Thinning, place

NOTHING = Rules(share=lambda _: 0, slow_ns=1000, rollouts=True, quiet_s=1)
PLAIN = Summary("1" * 32, "red", "chat", "ok", 0, 999, 3)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "thinned"),
        ({"status": "error"}, "error"),
        ({"failed": 1}, "error"),
        ({"end_ns": 1000}, "slow"),
        ({"unsure": 1}, "unsure"),
        ({"facts": Facts(arm="candidate")}, "rollout"),
        ({"facts": Facts(arm="baseline", rollout="r1")}, "rollout"),
        ({"facts": Facts(arm="baseline")}, "thinned"),
        ({"saved": True, "failed": 1}, "saved"),
    ],
)
def test_what_somebody_may_miss_is_kept(fields, outcome):
    assert NOTHING.outcome([replace(PLAIN, **fields)]) == outcome
    part = replace(PLAIN, tenant="")
    assert NOTHING.outcome([part, replace(PLAIN, **fields)]) == outcome, "a part decides as the whole does"


def test_rollouts_may_go_too():
    rules = Rules(share=lambda _: 0, slow_ns=1000, rollouts=False, quiet_s=1)
    assert rules.outcome([replace(PLAIN, facts=Facts(arm="candidate"))]) == "thinned"


def test_the_share_is_the_tenants_and_of_two_the_larger():
    rules = Rules(share={"red": 0, "blue": 10_000, "": 5000}.__getitem__, slow_ns=1000, rollouts=True, quiet_s=1)
    red, blue, nobody = (replace(PLAIN, tenant=tenant) for tenant in ("red", "blue", ""))
    assert rules.outcome([red]) == "thinned"
    assert rules.outcome([blue]) == "share"
    assert rules.outcome([red, blue]) == "share"
    assert rules.outcome([nobody, red]) == "thinned", "spans without a tenant follow those with one"
    assert rules.outcome([nobody, blue]) == "share"


def test_places_are_fixed_spread_and_not_those_of_the_head():
    assert [place(f"{number:032x}") for number in range(1, 4)] == [4853, 4107, 5433]
    kept = sum(place(f"{number:032x}") < 1000 for number in range(20_000))
    assert 1850 < kept < 2150, "a tenth, also of ids that were counted up"


def test_failures_and_rejected_answers_are_counted_into_a_trace(make_span):
    root = make_span()
    attempts = [
        make_span(status="error", start=2000),
        make_span(start=3000, attributes={genai.BILLED: True, genai.VERDICT: "rejected"}),
        make_span(start=4000, attributes={genai.VERDICT: "rejected"}),
    ]
    (summary,) = summarise([root, *attempts])
    assert (summary.status, summary.failed, summary.unsure) == ("ok", 1, 1)
    both = merge(replace(summary, thinned=2), replace(summary, thinned=1, saved=True))
    assert (both.failed, both.unsure, both.thinned, both.saved) == (2, 2, 3, True)


async def test_a_sweep_decides_once_and_counts(store, metrics, registry, make_span):
    plain, failed, liked = (make_span(trace) for trace in (1, 2, 3))
    failed = replace(failed, status="error")
    await store.write([plain, failed, liked])
    await store.add_feedback(Feedback("f", liked.trace_id, "red", "", 1.0, "", "", 1))
    thinning = Thinning(store, metrics, lambda: NOTHING)

    def counted() -> dict[str, float | None]:
        found = {
            name: registry.get_sample_value("headrace_tracing_traces_settled_total", {"outcome": name})
            for name in OUTCOMES
        }
        return {name: value for name, value in found.items() if value}

    assert await thinning.sweep() == 3
    assert await thinning.sweep() == 0
    assert counted() == {"thinned": 1, "error": 1, "feedback": 1}
    assert registry.get_sample_value("headrace_tracing_spans_thinned_total") == 1
    assert {span.trace_id for span in store.kept.values()} == {failed.trace_id, liked.trace_id}
    (summary,) = await store.summaries(plain.trace_id)
    assert (summary.spans, summary.thinned) == (1, 1)
    assert await store.write([plain]) == 0, "it is known, though it is gone"
    late = make_span(1)
    await store.write([late])
    assert await thinning.sweep() == 1, "a trace that got a span is looked at again"


async def test_nothing_goes_while_everything_is_kept(store, metrics, make_span):
    await store.write([make_span()])
    assert await Thinning(store, metrics, lambda: None).sweep() == 0
    assert len(store.kept) == 1
