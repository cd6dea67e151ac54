"""Answers whose engine dies in the middle: gone on with from what was sent, or an honest error."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_gateway.fakes import Script
from headrace_gateway.resilience.continuation import Splice
from headrace_gateway.routing.plan import Member, Pool, StagePlan, compile_target, single
from headrace_kit.errors import BadInput, Busy, NotReady, Upstream
from headrace_protos.common.v1.chat_pb2 import ResponseFormat, Tool, ToolCall, Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, TokenStats

GONE = Upstream("gone", code="engine_failed")


def failing_over(rig, *names, fallbacks=(), failover="continue"):
    """The model `sturdy` over a pool of these deployments, the first chosen first."""
    config, plan = rig.table.config, rig.table.models["sturdy"]
    pool = Pool(tuple(Member(compile_target(name, config)) for name in names))
    rig.table.models["sturdy"] = replace(
        plan,
        stages=(StagePlan(pool, None),),
        fallbacks=tuple(single(compile_target(name, config)) for name in fallbacks),
        resilience=plan.resilience.model_copy(update={"failover": failover}),
    )


def failovers(rig, outcome):
    return rig.registry.get_sample_value("headrace_gateway_failovers_total", {"model": "sturdy", "outcome": outcome})


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    return [chunk async for chunk in answer.chunks()]


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
async def test_another_deployment_goes_on_from_the_text_so_far(rig, ask, stream, fallback):
    failing_over(rig, "small", *([] if fallback else ["large"]), fallbacks=["large"] if fallback else [])
    rig.engine.scripts |= {
        "small": [Script(["one ", "two ", "three"], error=GONE)],
        "large": [Script([" four", " five"], input_tokens=13)],
    }
    ctx = rig.context()
    chunks = await read(rig, ask("sturdy", stream=stream), ctx)
    assert text(chunks) == "one two three four five"
    assert rig.engine.calls[1].request.continue_from == "one two three"
    assert not rig.engine.calls[0].request.continue_from
    dead, behind = rig.closed()
    assert (dead.deployment, dead.attempt, dead.error_code, dead.usage.output_tokens) == (
        "small",
        0,
        "engine_failed",
        3,
    )
    assert (behind.deployment, behind.attempt, behind.error_code) == ("large", 1, "")
    assert (behind.reason, behind.continued_tokens) == ("continuation", 3)
    assert dead.usage.input_tokens == 10, "the prompt without the text so far, as the second engine counted"
    assert ctx.cost_nano_usd == dead.cost_nano_usd + behind.cost_nano_usd
    assert dead.cost_nano_usd == 10 * 1000 + 3 * 2000
    assert (chunks[-1].usage.input_tokens, chunks[-1].usage.output_tokens) == (10, 5)
    stages = [(stage.deployment, stage.verdict, stage.reason) for stage in ctx.outcome.stages]
    assert stages == [("small", "failed", None), ("large", "accepted", "continuation")]
    assert ctx.outcome.deployment == "large"
    assert [hop.attributes.get("headrace.attempt.reason") for hop in ctx.hops] == [None, "continuation"]
    assert failovers(rig, "continued") == 1


async def test_without_the_policy_a_stream_ends_with_an_error(rig, ask):
    failing_over(rig, "small", "large", failover="error")
    rig.engine.scripts["small"] = [Script(["one "], error=GONE)]
    with pytest.raises(Upstream):
        await read(rig, ask("sturdy", stream=True))
    assert len(rig.engine.calls) == 1


async def test_a_deployment_that_cannot_go_on_is_not_asked(rig, ask):
    failing_over(rig, "small", fallbacks=["seer"])
    rig.engine.scripts["small"] = [Script(["one "], error=GONE)]
    ctx = rig.context()
    with pytest.raises(Upstream):
        await read(rig, ask("sturdy", stream=True), ctx)
    assert [call.deployment for call in rig.engine.calls] == ["small"]
    assert [stage.verdict for stage in ctx.outcome.stages] == ["failed"]
    assert failovers(rig, "failed") == 1


async def test_a_second_death_goes_on_once_more_and_each_deployment_is_asked_once(rig, ask):
    failing_over(rig, "small", "large", fallbacks=["spare"])
    rig.engine.scripts |= {
        "small": [Script(["a", "b"], error=GONE)],
        "large": [Script(["c"], error=GONE)],
        "spare": [Script(["d"], input_tokens=13)],
    }
    chunks = await read(rig, ask("sturdy", stream=True))
    assert text(chunks) == "abcd"
    assert [call.request.continue_from for call in rig.engine.calls] == ["", "ab", "abc"]
    assert [event.continued_tokens for event in rig.closed()] == [0, 2, 3]
    assert (chunks[-1].usage.input_tokens, chunks[-1].usage.output_tokens) == (10, 4)
    rig.engine.scripts["small"] = [Script(["a"], error=GONE)]
    rig.engine.scripts["spare"] = [Script(["d"], error=GONE)]
    with pytest.raises(Upstream):
        await read(rig, ask("sturdy", stream=True))
    assert len(rig.engine.calls) == 3 + 3


@pytest.mark.parametrize("error", [GONE, Busy("full"), NotReady("loading")])
async def test_one_that_fails_before_it_goes_on_is_passed_over(rig, ask, error):
    failing_over(rig, "small", "large", fallbacks=["spare"])
    rig.engine.scripts |= {
        "small": [Script(["a"], error=GONE)],
        "large": [Script([], error=error)],
        "spare": [Script(["b"])],
    }
    assert text(await read(rig, ask("sturdy", stream=True))) == "ab"
    assert [event.reason for event in rig.closed()].count("continuation") == 2


async def test_the_first_error_is_told_where_nobody_can_go_on(rig, ask):
    failing_over(rig, "small", "large")
    rig.engine.scripts |= {"small": [Script(["a"], error=GONE)], "large": [Script([], error=BadInput("too long"))]}
    with pytest.raises(Upstream, match="gone"):
        await read(rig, ask("sturdy", stream=True))


@pytest.mark.parametrize(
    "sampling",
    [
        {"n": 2},
        {"response_format": ResponseFormat(type="json_schema", schema_json="{}")},
        {"response_format": ResponseFormat(type="regex", regex="a+")},
        {"tools": [Tool(name="look")]},
        {"top_logprobs": 2},
    ],
)
async def test_an_answer_with_a_form_is_not_gone_on_with(rig, ask, sampling):
    failing_over(rig, "small", "large")
    rig.engine.scripts["small"] = [Script(["a"], error=GONE)]
    call = ask("sturdy", stream=True)
    for name, value in sampling.items():
        field = getattr(call.sampling, name)
        if isinstance(value, list):
            field.extend(value)
        elif isinstance(value, int):
            setattr(call.sampling, name, value)
        else:
            field.CopyFrom(value)
    with pytest.raises(Upstream):
        await read(rig, call)
    assert len(rig.engine.calls) == 1


async def test_an_answer_that_calls_tools_is_not_gone_on_with(rig, ask):
    failing_over(rig, "small", "large")
    call = ToolCall(index=0, id="1", name="look", arguments="{")
    rig.engine.scripts["small"] = [Script(["a"], tool_calls=[call], error=GONE)]
    with pytest.raises(Upstream):
        await read(rig, ask("sturdy", stream=True))
    assert len(rig.engine.calls) == 1


async def test_the_token_limit_counts_what_was_sent(rig, ask):
    failing_over(rig, "small", "large")
    rig.engine.scripts["small"] = [Script(["a", "b"], error=GONE)]
    call = ask("sturdy", stream=True)
    call.sampling.max_tokens = 7
    await read(rig, call)
    assert rig.engine.calls[1].request.sampling.max_tokens == 5
    opened = [event for event in rig.journal.events if event.kind == event.KIND_OPENED]
    assert [event.reserved_output_tokens for event in opened] == [7, 5]


async def test_an_answer_that_had_all_its_tokens_ends_there(rig, ask):
    failing_over(rig, "small", "large")
    rig.engine.scripts["small"] = [Script(["a", "b"], error=GONE)]
    call = ask("sturdy", stream=True)
    call.sampling.max_tokens = 2
    chunks = await read(rig, call)
    assert (text(chunks), chunks[-1].finish_reason, chunks[-1].usage.output_tokens) == ("ab", "length", 2)
    assert len(rig.engine.calls) == 1


async def test_what_the_output_policy_masks_is_masked_across_the_seam(rig, ask):
    failing_over(rig, "small", "large")
    plan = rig.table.models["sturdy"]
    rig.table.models["sturdy"] = replace(plan, policy=rig.table.policies["standard"])
    rig.engine.scripts |= {"small": [Script(["I am jo@exa"], error=GONE)], "large": [Script(["mple.com, hello"])]}
    said = text(await read(rig, ask("sturdy", stream=True)))
    assert "jo@exa" not in said and "example.com" not in said and said.endswith(", hello")


async def test_a_stage_that_is_held_back_is_gone_on_with_too(rig, ask):
    plan = rig.table.models["assistant"]
    rig.table.models["assistant"] = replace(
        plan, resilience=plan.resilience.model_copy(update={"failover": "continue"}), attempts=2
    )
    plan = rig.table.models["assistant"]
    stage = replace(
        plan.stages[0], pool=Pool((*plan.stages[0].pool.members, Member(compile_target("spare", rig.table.config))))
    )
    rig.table.models["assistant"] = replace(plan, stages=(stage, *plan.stages[1:]))
    rig.engine.scripts |= {"small": [Script(["half"], error=GONE)], "spare": [Script(["whole"])]}
    assert text(await read(rig, ask("assistant", stream=True))) == "halfwhole"
    assert [event.verdict for event in rig.closed()] == ["", "accepted"]


@dataclass
class Speaker:
    """Engines that say one text: `small` dies where it is told, the next ones go on from whatever stands there."""

    said: str
    cuts: list[int]
    sizes: list[int]

    async def generate(self, request, sent, *, whole) -> AsyncGenerator[GenerateChunk, None]:
        begins = len(request.continue_from)
        assert self.said.startswith(request.continue_from)
        cut = self.cuts.pop(0) if self.cuts else len(self.said)
        place, pieces = begins, 0
        while place < max(cut, begins):
            size = self.sizes[pieces % len(self.sizes)]
            pieces += 1
            yield GenerateChunk(text=self.said[place : min(place + size, cut)], stats=TokenStats(tokens=1))
            place = min(place + size, cut)
        if cut < len(self.said):
            raise Upstream("gone")
        yield GenerateChunk(finish_reason="stop", usage=Usage(output_tokens=pieces))


@given(
    said=st.text(alphabet="ab \n\u00e9\U0001f600", min_size=1, max_size=30),
    data=st.data(),
)
def test_nothing_is_repeated_or_left_out_wherever_engines_die(said, data):
    cuts = data.draw(st.lists(st.integers(0, len(said)), max_size=3).map(sorted))
    client, begins = "", 0
    splice = None
    for cut in [*cuts, len(said)]:
        cut = max(cut, begins)
        place = begins
        while place < cut:
            size = data.draw(st.integers(1, 5))
            piece = said[place : min(cut, place + size)]
            place += len(piece)
            client += piece if splice is None else splice.take(piece, last=False)
        assert said.startswith(client)
        splice = Splice(client)
        begins = len(splice.prefix)
        assert said.startswith(splice.prefix)
    assert client == said


@given(
    said=st.text(alphabet="abX", min_size=1, max_size=20),
    stop=st.text(alphabet="abX", min_size=1, max_size=4),
    cut=st.integers(0, 20),
    data=st.data(),
)
def test_a_stop_string_across_the_seam_ends_the_answer(said, stop, cut, data):
    """Each engine looks for stop strings in its own text only; what a whole one would have said is the measure."""
    cut = min(cut, len(said))
    if stop in said[:cut] or stop in said[cut:]:
        return  # an engine saw it itself
    splice, got, place = Splice(said[:cut], [stop]), said[:cut], cut
    while place < len(said) and not splice.stopped:
        size = data.draw(st.integers(1, 4))
        piece = said[place : place + size]
        place += len(piece)
        got += splice.take(piece, last=place >= len(said))
    assert said.startswith(got)
    if stop in said:
        assert splice.stopped and len(got) <= max(cut, said.index(stop) + len(stop) - 1)
    else:
        assert not splice.stopped and got == said


@pytest.mark.parametrize("seed", range(20))
async def test_the_client_of_a_stream_gets_the_text_once_whole(rig, ask, seed):
    said = "The lighthouse stands\n\n at  Cabo 7 \U0001f600 since 1901. "
    failing_over(rig, "small", "large", fallbacks=["spare"])
    cuts = sorted({1 + (seed * 7) % len(said), 1 + (seed * 11) % len(said)})
    rig.attempts.engine = Speaker(said, cuts, [1 + seed % 5, 2])
    assert text(await read(rig, ask("sturdy", stream=True))) == said
