"""What a trace comes to, and the tree that its spans make."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.spans import REPORTED, Span, Usage
from headrace_tracing.domain.summaries import cost_usd, merge, summarise
from headrace_tracing.domain.tree import ordered, visible_to


def billed(tokens_in=10, tokens_out=5, cost=7, flag=True) -> dict:
    return {
        genai.BILLED: flag,
        genai.USAGE_INPUT_TOKENS: tokens_in,
        genai.USAGE_OUTPUT_TOKENS: tokens_out,
        genai.COST_NANO_USD: cost,
    }


def test_only_billed_spans_count(make_span):
    spans = [make_span(attributes=billed()), make_span(attributes=billed()), make_span(attributes=billed(flag=False))]
    spans.append(make_span(attributes=billed(flag="true")))
    (summary,) = summarise(spans)
    assert summary.usage == Usage(20, 10, 14)
    assert summary.spans == 4


@pytest.mark.parametrize("nonsense", [-1, 10**30, 1.5, "7", True, None, [1]])
def test_nonsense_is_not_summed(make_span, nonsense):
    (summary,) = summarise([make_span(attributes=billed(nonsense, nonsense, nonsense))])
    assert summary.usage == Usage(0, 0, 0)


def test_the_earliest_span_gives_name_and_status_in_whatever_order_they_come(make_span):
    root = make_span(start=100, end_ns=900, name="chat", attributes={genai.REQUEST_MODEL: "assistant"})
    failed = make_span(start=200, parent=root, status="error", attributes={genai.REQUEST_MODEL: "small"})
    last = make_span(start=300, end_ns=1200, parent=root)
    for spans in itertools.permutations([root, failed, last]):
        (summary,) = summarise(spans)
        assert (summary.name, summary.status, summary.model) == ("chat", "ok", "assistant")
        assert (summary.start_ns, summary.end_ns, summary.spans) == (100, 1200, 3)


def test_traces_and_tenants_are_kept_apart(make_span):
    found = summarise([make_span(2), make_span(1, tenant="blue"), make_span(1), make_span(1)])
    assert [(int(summary.trace_id, 16), summary.tenant, summary.spans) for summary in found] == [
        (1, "blue", 1),
        (1, "red", 2),
        (2, "red", 1),
    ]


@pytest.mark.parametrize(
    ("nano", "dollars"),
    [(0, "0"), (1, "0.000000001"), (12_500, "0.0000125"), (10**9, "1"), (1_500_000_000, "1.5"), (10**10, "10")],
)
def test_cost_is_a_plain_decimal(nano, dollars):
    assert cost_usd(nano) == dollars


def test_parents_come_before_children_and_siblings_by_time(make_span):
    root = make_span(start=500, name="root")
    late = make_span(start=400, parent=root, name="late")
    early = make_span(start=300, parent=root, name="early")
    leaf = make_span(start=100, parent=late, name="leaf")
    orphan = make_span(start=600, parent_span_id="00000000deadbeef", name="orphan")
    assert [span.name for span in ordered([leaf, late, orphan, early, root])] == [
        "root",
        "early",
        "late",
        "leaf",
        "orphan",
    ]


def test_circles_lose_no_span(make_span):
    one = make_span(start=2, span_id="000000000000000a", parent_span_id="000000000000000b")
    two = make_span(start=1, span_id="000000000000000b", parent_span_id="000000000000000a")
    own = make_span(start=3, span_id="000000000000000c", parent_span_id="000000000000000c")
    assert ordered([one, two, own]) == [own, two, one]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.sampled_from(["", "red", "blue"])), max_size=12))
def test_any_graph_is_ordered_whole(parents):
    spans = [
        Span(f"{1:032x}", f"{number + 1:016x}", f"{parent:016x}", tenant, "s", "n", "internal", start, start)
        for number, (parent, start, tenant) in enumerate(parents)
    ]
    made = ordered(spans)
    assert sorted(span.span_id for span in made) == [span.span_id for span in spans]
    red, blue = visible_to(spans, "red"), visible_to(spans, "blue")
    assert not {span.span_id for span in red} & {span.span_id for span in blue}
    assert {span.span_id for span in spans if span.tenant == "red"} <= {span.span_id for span in red}


def test_a_long_chain_is_no_deep_recursion(make_span):
    chain = [make_span()]
    for _ in range(20_000):
        chain.append(make_span(tenant="", parent=chain[-1]))
    assert ordered(list(reversed(chain)))[-1] == chain[-1]
    assert len(visible_to(list(reversed(chain)), "red")) == 20_001


def test_a_span_without_a_tenant_belongs_to_the_one_above_it(make_span):
    red, blue = make_span(), make_span(tenant="blue")
    below = make_span(tenant="", parent=red)
    deeper = make_span(tenant="", parent=below)
    nobody = make_span(tenant="")
    spans = [deeper, red, blue, below, nobody]
    assert visible_to(spans, "red") == [deeper, red, below]
    assert visible_to(spans, "blue") == [blue]


def test_together_and_one_after_the_other_come_to_the_same(make_span):
    root = make_span(
        start=100, status="error", attributes={genai.REQUEST_MODEL: "m", genai.COLLECTIONS: ["b", "a"], genai.STAGE: 2}
    )
    spans = [
        make_span(start=300, end_ns=5000, attributes={**billed(), genai.VERDICT: "rejected", genai.STAGE: 0}),
        make_span(start=200, service="inference", attributes={REPORTED: True, genai.USAGE_INPUT_TOKENS: 3}),
        root,
        make_span(start=250, content=Content((Turn("user", "hello"),)), attributes={genai.CONVERSATION_ID: "talk"}),
        make_span(start=260, status="error", attributes={genai.FINDINGS: ["input:pii.email:mask:2"]}),
    ]
    for order in itertools.permutations(spans):
        alone = [summarise([span])[0] for span in order]
        assert summarise(order) == [functools.reduce(merge, alone)]
    (summary,) = summarise(spans)
    assert (summary.failed, summary.unsure, summary.stages, summary.capture) == (2, 1, 3, 1)
    assert (summary.findings, summary.collections, summary.session) == (("input:pii.email:mask",), ("a", "b"), "talk")
