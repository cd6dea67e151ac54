"""Query parameters as a filter of traces, and messages as JSON."""

from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headrace_gateway.http_api.traces import filter_of
from headrace_gateway.http_api.values import shown
from headrace_kit.errors import BadInput
from headrace_protos.tracing.v1 import messages_pb2 as pb


def test_every_sort_of_parameter_is_understood():
    made = filter_of(
        {
            "model": "assistant",
            "from": "2026-11-01",
            "to": "2026-11-02T12:00:00+02:00",
            "min_duration_ms": "1.5",
            "escalated": "false",
            "max_cost_usd": "0.01",
            "limit": "7",
            "text": "",
        }
    )
    assert getattr(made, "from").ToJsonString() == "2026-11-01T00:00:00Z"
    assert made.to.ToJsonString() == "2026-11-02T10:00:00Z"
    assert (made.model, made.min_duration_ms, made.max_cost_usd) == ("assistant", 1.5, "0.01")
    assert made.HasField("escalated") and not made.escalated
    assert not made.HasField("max_duration_ms")


def test_a_sides_parameters_carry_its_letter():
    asked = {"model": "assistant", "a_arm": "baseline", "b_arm": "candidate"}
    assert filter_of(asked, "a_") == pb.TraceFilter(arm="baseline")
    assert filter_of(asked, "b_") == pb.TraceFilter(arm="candidate")


@pytest.mark.parametrize(
    ("name", "value"),
    [("from", "yesterday"), ("min_duration_ms", "fast"), ("max_feedback", "nan"), ("escalated", "perhaps")],
)
def test_a_bad_parameter_is_named(name, value):
    with pytest.raises(BadInput) as caught:
        filter_of({f"a_{name}": value}, "a_")
    assert caught.value.param == f"a_{name}"


def test_a_message_is_shown_with_numbers_as_numbers_and_what_is_unset_as_null():
    span = pb.Span(span_id="1", start_time=Timestamp(seconds=1))
    span.attributes.update({"n": 3, "x": 0.5, "list": ["a"]})
    trace = pb.Trace(trace_id="t", input_tokens=2**40, spans=[span], summary=pb.TraceSummary(ttft_ms=1.5))
    made = shown(trace)
    assert made["input_tokens"] == 2**40
    assert made["spans"][0]["attributes"] == {"n": 3, "x": 0.5, "list": ["a"]}
    assert made["spans"][0]["start_time"] == "1970-01-01T00:00:01Z"
    assert (made["start_time"], made["content"], made["summary"]["feedback"]) == (None, None, None)
    assert made["summary"]["ttft_ms"] == 1.5
    assert shown(pb.AggregateRow(group={"model": "m"}))["group"] == {"model": "m"}
    json.dumps(made)
