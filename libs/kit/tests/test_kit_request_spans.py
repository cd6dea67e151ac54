"""What a request's record says happened on the way, and which of its spans belong together."""

from __future__ import annotations

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.request_spans import RequestSpan, spans_of
from headrace_kit.telemetry.requests import Hop, Request, packed, unpacked


def attempt(span_id: str, at: int, deployment: str, stage: int = 0, **more) -> Hop:
    attributes = {genai.BILLED: True, genai.DEPLOYMENT: deployment, genai.STAGE: stage, **more}
    return Hop(f"chat {deployment}", span_id, at, at + 10, attributes)


def spans(*hops: Hop, **fields) -> list[RequestSpan]:
    request = Request("r", "1" * 32, "a" * 16, "", 1_000_000, 2_000_000, "red", hops=list(hops), **fields)
    return [*spans_of(unpacked(packed(request)))]


def test_what_happens_on_the_way_is_told_in_its_order():
    root, *steps = spans(
        Hop("guard input", "1" * 16, 1_000_010, 1_000_020),
        attempt("2" * 16, 1_000_030, "small", **{genai.VERDICT: "rejected", genai.CONFIDENCE: -1.5}),
        attempt("3" * 16, 1_000_050, "large", 1),
        attempt("4" * 16, 1_000_070, "hosted", 1, **{genai.REASON: "fallback"}),
        first_token_us=100,
        findings=["input:pii.email:mask:2", "output:pii.iban:mask:1"],
        cache="miss",
    )
    assert [(event.name, event.time_ns) for event in root.events] == [
        (genai.EVENT_FINDING, 1_000_020),
        (genai.EVENT_ESCALATED, 1_000_040),
        (genai.EVENT_FALLBACK, 1_000_070),
        (genai.EVENT_FIRST_TOKEN, 1_100_000),
        (genai.EVENT_FINDING, 2_000_000),
    ]
    assert [event.attributes for event in root.events[:3]] == [
        {genai.FINDINGS: "input:pii.email:mask:2"},
        {genai.DEPLOYMENT: "small", genai.CONFIDENCE: -1.5},
        {genai.DEPLOYMENT: "hosted"},
    ]
    assert not any(step.events or step.links for step in steps)


def test_a_hit_of_the_cache_is_told_and_a_plain_request_tells_nothing():
    (root, _) = spans(Hop("cache", "1" * 16, 1_000_010, 1_000_025), cache="hit")
    assert [(event.name, event.time_ns) for event in root.events] == [(genai.EVENT_CACHE_HIT, 1_000_025)]
    (root,) = spans()
    assert root.events == [] and root.links == ()


def test_a_hedge_is_linked_to_the_attempt_that_it_ran_beside():
    made = spans(
        attempt("2" * 16, 1_000_010, "other", 0),
        attempt("3" * 16, 1_000_020, "slow", 1),
        Hop("guardrails Check", "4" * 16, 1_000_021, 1_000_022),
        attempt("5" * 16, 1_000_030, "quick", 1, **{genai.REASON: "hedge"}),
        attempt("6" * 16, 1_000_040, "quicker", 1, **{genai.REASON: "hedge"}),
        attempt("7" * 16, 1_000_050, "lone", 2, **{genai.REASON: "hedge"}),
    )
    assert {span.span_id[0]: span.links for span in made if span.links} == {"5": ("3" * 16,), "6": ("3" * 16,)}
