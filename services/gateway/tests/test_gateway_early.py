"""Cascades whose stages are judged by the beginning of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_gateway.fakes import Script
from headrace_gateway.ports import Envelope
from headrace_gateway.routing.table import compile_table
from headrace_kit.config.cascades import Accept
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.chat_pb2 import ToolCall, Usage
from headrace_protos.inference.v1 import messages_pb2 as inference


def early(rig, **more):
    """Judge the model `assistant` by the first three tokens."""
    config = rig.table.config
    accept = {"signal": "mean_logprob", "at_least": -0.5, "early": {"tokens": 3, "hold_ms": 60_000, **more}}
    model = config.models["assistant"]
    stage = model.cascade[0].model_copy(update={"accept": Accept.model_validate(accept)})
    model = model.model_copy(update={"cascade": (stage, model.cascade[1])})
    changed = config.model_copy(update={"models": {**config.models, "assistant": model}})
    rig.table = compile_table(_Snapshot(changed))
    return rig


@dataclass
class _Snapshot:
    config: object
    hash: str = "h"
    path: Path = Path("headrace.yaml")


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    return [chunk async for chunk in answer.chunks()]


async def test_an_accepted_beginning_streams_on_from_the_same_call(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a", "b", "c", "d"], logprob=-0.2, hang=True)]
    ctx = rig.context()
    answer = await rig.pipeline.generate(ctx, ask("assistant", stream=True))
    chunks = answer.chunks()
    assert "".join([(await anext(chunks)).text for _ in range(4)]) == "abcd"
    assert [(call.deployment, call.whole) for call in rig.engine.calls] == [("small", False)]
    await chunks.aclose()
    assert rig.engine.calls[0].cancelled
    [event] = rig.closed()
    assert (event.verdict, event.error_code) == ("accepted", "client_closed_request")


async def test_an_unsure_beginning_is_stopped_at_the_engine_and_billed_as_overhead(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a", "b", "c", "d"], logprob=-0.9, hang=True)]
    rig.engine.scripts["large"] = [Script(["sure"])]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=True), ctx)) == "sure"
    assert rig.engine.calls[0].cancelled
    first, second = rig.closed()
    assert (first.verdict, first.error_code, first.usage.output_tokens) == ("rejected", "", 3)
    assert first.confidence == pytest.approx(-0.9)
    assert ctx.cost_nano_usd == first.cost_nano_usd + second.cost_nano_usd
    outcome = ctx.outcome
    assert [(stage.verdict, stage.moment) for stage in outcome.stages] == [("rejected", "early"), ("accepted", None)]
    assert outcome.deployment == "large"
    hop = next(hop for hop in ctx.hops if hop.name.endswith("small"))
    assert hop.error == ""
    assert hop.attributes["headrace.cascade.moment"] == "early"
    labels = {"model": "assistant", "stage": "0", "moment": "early", "verdict": "rejected"}
    assert rig.registry.get_sample_value("headrace_gateway_cascade_verdicts_total", labels) == 1


async def test_a_rejection_is_no_sign_of_illness(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a"] * 4, logprob=-0.9, hang=True)]
    for _ in range(20):
        await read(rig, ask("assistant", stream=True))
    assert [call.deployment for call in rig.engine.calls] == ["small", "large"] * 20


@pytest.mark.parametrize(
    ("policy", "logprob", "given"),
    [("judge", -0.2, "ab"), ("judge", -0.9, "sure"), ("accept", -0.9, "ab"), ("escalate", -0.2, "sure")],
)
async def test_text_is_held_no_longer_than_the_config_says(rig, ask, policy, logprob, given):
    early(rig, hold_ms=1, on_hold_timeout=policy)
    rig.engine.scripts["small"] = [Script(["a", "b"], logprob=logprob, hang=True)]
    rig.engine.scripts["large"] = [Script(["sure"])]
    answer = await rig.pipeline.generate(rig.context(), ask("assistant", stream=True))
    chunks = answer.chunks()
    seen = ""
    while seen != given:
        seen += (await anext(chunks)).text
        assert given.startswith(seen)
    await chunks.aclose()


async def test_a_short_answer_is_judged_whole(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a"], logprob=-0.2)]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=True), ctx)) == "a"
    assert ctx.outcome.stages[0].moment == "after"


async def test_without_a_stream_the_whole_answer_is_judged(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a", "b", "c", "d"], logprob=-0.2)]
    ctx = rig.context()
    await read(rig, ask("assistant"), ctx)
    assert rig.engine.calls[0].whole
    assert ctx.outcome.stages[0].moment == "after"


async def test_an_answer_that_calls_tools_is_held_whole(rig, ask):
    call = ToolCall(index=0, id="1", name="f", arguments="{}")
    early(rig, tokens=1, hold_ms=1).engine.scripts["small"] = [Script([], tool_calls=[call], logprob=None)]
    rig.engine.scripts["large"] = [Script(["sure"])]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=True), ctx)) == "sure"
    assert ctx.outcome.stages[0].moment == "after"


async def test_an_engine_that_fails_while_it_is_held_escalates(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a"], error=Upstream("gone"))]
    rig.engine.scripts["large"] = [Script(["sure"])]
    assert text(await read(rig, ask("assistant", stream=True))) == "sure"
    assert [event.error_code for event in rig.closed()] == ["upstream_failed", ""]


async def test_an_engine_that_fails_after_it_was_accepted_ends_the_stream(rig, ask):
    early(rig).engine.scripts["small"] = [Script(["a", "b", "c"], error=Upstream("gone"))]
    answer = await rig.pipeline.generate(rig.context(), ask("assistant", stream=True))
    seen = []
    with pytest.raises(Upstream):
        async for chunk in answer.chunks():
            seen.append(chunk.text)
    assert seen == ["a", "b", "c"]
    assert [call.deployment for call in rig.engine.calls] == ["small"]


@pytest.mark.parametrize("hold_ms", [1, 60_000])
async def test_a_client_who_leaves_while_it_is_held_stops_the_engine(rig, ask, hold_ms):
    early(rig, hold_ms=hold_ms, tokens=9, on_hold_timeout="judge")
    rig.engine.scripts["small"] = [Script(["a", "b"], hang=True, logprob=-0.2)]
    waiting = asyncio.create_task(rig.pipeline.generate(rig.context(), ask("assistant", stream=True)))
    await rig.engine.hanging.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.engine.calls[0].cancelled
    assert rig.closed()[0].error_code == "client_closed_request"


def test_a_bound_must_suit_its_signal():
    for wrong in ({"at_least": 0.5}, {}, {"at_least": -101}):
        with pytest.raises(ValidationError):
            Accept.model_validate({"signal": "mean_logprob", **wrong})
    with pytest.raises(ValidationError, match="window"):
        Accept.model_validate({"signal": "min_logprob", "at_least": -1, "window": 4})


@dataclass
class Pieces:
    """An engine that says its pieces, and pauses after one until it is told to go on."""

    pieces: list[tuple[str, int, float]]
    pause_after: int
    go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False

    async def generate(
        self, request: inference.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[inference.GenerateChunk, None]:
        if request.deployment == "large":
            self.go.set()
            yield inference.GenerateChunk(text="LARGE")
            yield inference.GenerateChunk(finish_reason="stop", usage=Usage(output_tokens=1))
            return
        try:
            for number, (said, tokens, logprob) in enumerate(self.pieces, 1):
                stats = inference.TokenStats(tokens=tokens, sum_logprob=tokens * logprob, min_logprob=logprob)
                yield inference.GenerateChunk(text=said, stats=stats)
                if number == self.pause_after:
                    await self.go.wait()
            yield inference.GenerateChunk(finish_reason="stop", usage=Usage(output_tokens=1))
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled = True
            raise


PIECES = st.lists(st.tuples(st.sampled_from(["x", "yy", "z "]), st.integers(1, 4), st.floats(-1, 0)), min_size=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES, st.integers(0, 6), st.integers(1, 12), st.sampled_from(["judge", "accept", "escalate"]))
def test_a_stream_is_one_whole_answer_and_never_taken_back(rig, ask, pieces, pause_after, tokens, policy):
    make, table = type(rig), rig.table

    async def once():
        engine = Pieces(pieces, pause_after)
        rig = early(make(table, engine=engine), tokens=tokens, hold_ms=1, on_hold_timeout=policy)
        answer = await rig.pipeline.generate(rig.context(), ask("assistant", stream=True))
        said = "".join(piece[0] for piece in pieces)
        seen = ""
        async for chunk in answer.chunks():
            seen += chunk.text
            engine.go.set()
            assert said.startswith(seen) or "LARGE".startswith(seen)
        first, *others = rig.closed()
        assert seen == ("LARGE" if others else said)
        assert first.verdict == ("rejected" if others else "accepted")
        assert first.error_code == ""
        assert not engine.cancelled or others

    asyncio.run(once())
