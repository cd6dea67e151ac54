"""What is told of requests on an arm, once each, when they have left."""

from __future__ import annotations

import json

import pytest

from headrace_gateway.arms.outcomes import Finishing, answered, finished
from headrace_gateway.calls import Options
from headrace_gateway.fakes import Script
from headrace_gateway.ledger.writer import rows_of
from headrace_gateway.outcome import Grounding
from headrace_kit.errors import BudgetSpent, Upstream
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, ResponseFormat, ToolCall
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split


def grant(weight, model="plain", candidate=None):
    patch = json.dumps(candidate or {"deployment": "large"})
    return Grant(
        lease_ms=15_000,
        splits=[Split(rollout_id="r1", model=model, salt="s", weight=weight, candidate_json=patch)],
    )


async def serve(rig, call):
    ctx = rig.context()
    ctx.stream = call.stream
    await (await rig.pipeline.generate(ctx, call)).whole()
    return ctx


def told(rig, ctx, status=200, error=""):
    """Finished events that leaving made."""
    before = len(rig.journal.events)
    Finishing(rig.journal, rig.metrics.arm, lambda _: None, lambda *_: None).record(ctx, status, error)
    return rig.journal.events[before:]


async def test_a_request_on_an_arm_is_told_whole(rig, ask):
    rig.leases.take(grant(10_000))
    ctx = await serve(rig, ask("plain", "привет", end_user="u", stream=True))
    [event] = told(rig, ctx)
    assert (event.kind, event.arm, event.rollout_id, event.failure) == (event.KIND_FINISHED, "candidate", "r1", "")
    assert event.unit == ctx.unit and event.unit != "u"
    assert event.weight == 10_000
    assert event.streamed and 0 < event.first_token_us <= event.ended_us
    assert event.cost_nano_usd == ctx.cost_nano_usd > 0
    assert dict(event.segment) == {"tenant": "dev", "prompt": "<=256", "script": "cyrillic"}


async def test_how_far_an_answer_is_grounded_is_told(rig, ask):
    rig.leases.take(grant(5_000))
    ctx = await serve(rig, ask("plain"))
    assert dict(told(rig, ctx)[0].scores) == {}
    ctx.outcome.grounding = Grounding(score=0.75, sentences=[])
    assert dict(told(rig, ctx)[0].scores) == {"groundedness": 0.75}
    assert dict(told(rig, ctx, 502, "upstream_failed")[0].scores) == {}


async def test_a_request_on_no_arm_is_not_told(rig, ask):
    assert told(rig, await serve(rig, ask("plain"))) == []
    rig.leases.take(grant(10_000))
    named = rig.context()
    named.identity = named.identity.__class__("gateway", "dev", "k", scopes=frozenset({"admin"}))
    await (await rig.pipeline.generate(named, ask("plain", options=Options(route="small")))).whole()
    assert told(rig, named) == []
    assert {event.arm for event in rig.closed()} == {""}


@pytest.mark.parametrize(
    ("status", "error", "failure"),
    [
        (502, "engine_failed", "error"),
        (500, "internal_error", "error"),
        (504, "deadline_exceeded", "timeout"),
        (502, "engine_stalled", "timeout"),
        (200, "engine_timeout", "timeout"),
        (400, "content_filter", "blocked"),
        (400, "context_length_exceeded", "refused"),
        (429, "engine_busy", "error"),
        (499, "client_closed_request", "left"),
    ],
)
async def test_a_failure_is_told_by_its_kind(rig, ask, status, error, failure):
    rig.leases.take(grant(5000))
    rig.engine.scripts = {name: [Script(texts=(), error=Upstream("down"))] for name in ("small", "large")}
    ctx = rig.context()
    with pytest.raises(Upstream):
        await rig.pipeline.generate(ctx, ask("plain"))
    [event] = told(rig, ctx, status, error)
    assert (event.failure, event.error_code) == (failure, error)


async def test_a_limit_of_the_caller_is_no_outcome_but_a_full_engine_is(rig, ask):
    rig.leases.take(grant(10_000))
    ctx = rig.context()

    class Empty:
        limited = True
        inputs = counted = 0

        async def reserve(self, amount):
            raise BudgetSpent("nothing is left")

    ctx.purse = Empty()
    with pytest.raises(BudgetSpent):
        await rig.pipeline.generate(ctx, ask("plain"))
    assert told(rig, ctx, 402, "budget_exceeded") == []
    served = await serve(rig, ask("plain"))
    assert [event.failure for event in told(rig, served, 429, "rate_limit_exceeded")] == ["error"]


async def test_a_caller_who_left_in_the_middle_saw_no_failure(rig, ask):
    rig.leases.take(grant(10_000))
    ctx = await serve(rig, ask("plain"))
    assert finished(ctx, 200, "client_closed_request").failure == ""


def seen(*chunks, asked=None):
    answer = answered([Message(role="user", parts=[ContentPart(text="hi")])], "", asked or ResponseFormat())
    for chunk in chunks:
        answer.saw(chunk)
    return answer


SCHEMA = ResponseFormat(type="json_schema", schema_json='{"type": "object", "required": ["a"]}')


@pytest.mark.parametrize(
    ("chunks", "asked", "fault"),
    [
        ([GenerateChunk(text="fine", finish_reason="stop")], None, ""),
        ([GenerateChunk(finish_reason="stop")], None, "empty"),
        ([GenerateChunk(text=" \n"), GenerateChunk(finish_reason="stop")], None, "empty"),
        ([GenerateChunk(text="half", finish_reason="content_filter")], None, "blocked"),
        ([GenerateChunk(text='{"a": '), GenerateChunk(text="1}", finish_reason="stop")], SCHEMA, ""),
        ([GenerateChunk(text='{"b": 1}', finish_reason="stop")], SCHEMA, "invalid"),
        ([GenerateChunk(text='{"a": ', finish_reason="length")], ResponseFormat(type="json_object"), "invalid"),
        ([GenerateChunk(text="abc", finish_reason="stop")], ResponseFormat(type="regex", regex="[a-c]+"), ""),
        ([GenerateChunk(text="abd", finish_reason="stop")], ResponseFormat(type="regex", regex="[a-c]+"), "invalid"),
        (
            [GenerateChunk(text='{"a": 1}', finish_reason="stop"), GenerateChunk(index=1, text="no")],
            SCHEMA,
            "invalid",
        ),
        ([GenerateChunk(tool_calls=[ToolCall(name="f", arguments='{"x": 1}')], finish_reason="tool_calls")], None, ""),
        ([GenerateChunk(tool_calls=[ToolCall(name="f", arguments='{"x": ')])], None, "invalid"),
        ([GenerateChunk(tool_calls=[ToolCall(name="f")], finish_reason="tool_calls")], SCHEMA, ""),
    ],
)
def test_what_is_wrong_with_an_answer(chunks, asked, fault):
    assert seen(*chunks, asked=asked).fault() == fault


async def test_a_finished_event_is_no_row_of_the_ledger(rig, ask):
    rig.leases.take(grant(10_000))
    ctx = await serve(rig, ask("plain"))
    told(rig, ctx)
    assert [row.kind for row in rows_of(rig.journal.events)] == [2]
    assert rows_of(rig.journal.events[-1:]) == []
