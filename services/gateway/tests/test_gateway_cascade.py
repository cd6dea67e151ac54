"""Cascades, retries and fallbacks, through the whole pipeline."""

from __future__ import annotations

import asyncio

import pytest

from headrace_gateway.fakes import Script
from headrace_kit.errors import BadInput, Busy, DeadlineExceeded, NotReady, Upstream
from headrace_protos.common.v1.event_pb2 import RequestEvent


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    return [chunk async for chunk in answer.chunks()]


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


async def test_a_sure_stage_is_released_and_the_next_never_asked(rig, ask):
    rig.engine.scripts["small"] = [Script(["sure ", "thing"], logprob=-0.2)]
    chunks = await read(rig, ask("assistant", stream=True))
    assert text(chunks) == "sure thing"
    assert [call.deployment for call in rig.engine.calls] == ["small"]
    assert [event.verdict for event in rig.closed()] == ["accepted"]


async def test_an_unsure_stage_is_discarded_whole_and_billed_as_overhead(rig, ask):
    rig.engine.scripts["small"] = [Script(["maybe ", "not"], logprob=-0.9)]
    rig.engine.scripts["large"] = [Script(["cer", "tainly"])]
    ctx = rig.context()
    chunks = await read(rig, ask("assistant", stream=True), ctx)
    assert text(chunks) == "certainly"
    first, second = rig.closed()
    assert (first.stage, first.verdict, first.deployment) == (0, "rejected", "small")
    assert first.confidence == pytest.approx(-0.9)
    assert (second.stage, second.verdict, second.deployment) == (1, "accepted", "large")
    assert first.cost_nano_usd == 10 * 1000 + 2 * 2000
    assert ctx.cost_nano_usd == first.cost_nano_usd + second.cost_nano_usd
    assert chunks[-1].usage.output_tokens == 2 and chunks[-1].finish_reason == "stop"
    assert [stage.verdict for stage in ctx.outcome.stages] == ["rejected", "accepted"]


async def test_nothing_is_released_while_a_stage_may_still_be_rejected(rig, ask):
    rig.engine.scripts["small"] = [Script(["early"], hang=True)]
    waiting = asyncio.create_task(rig.pipeline.generate(rig.context(), ask("assistant", stream=True)))
    await rig.engine.hanging.wait()
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.engine.calls[0].cancelled
    assert rig.closed()[0].error_code == "client_closed_request"


async def test_a_stage_whose_engine_fails_escalates(rig, ask):
    rig.engine.scripts["small"] = [Script(error=Upstream("gone"))]
    rig.engine.scripts["large"] = [Script(["saved"])]
    assert text(await read(rig, ask("assistant"))) == "saved"
    assert [event.error_code for event in rig.closed()] == ["upstream_failed", ""]


async def test_an_answer_without_statistics_is_not_trusted(rig, ask):
    rig.engine.scripts["small"] = [Script([])]
    rig.engine.scripts["large"] = [Script(["told"])]
    assert text(await read(rig, ask("assistant"))) == "told"


async def test_an_answer_whose_engine_reports_no_log_probabilities_is_not_trusted(rig, ask):
    rig.engine.scripts["small"] = [Script(["unsure"], logprob=None)]
    rig.engine.scripts["large"] = [Script(["told"])]
    assert text(await read(rig, ask("assistant"))) == "told"
    first = rig.closed()[0]
    assert (first.verdict, first.HasField("confidence")) == ("rejected", False)


async def test_the_opened_event_is_written_before_the_engine_is_asked(rig, ask):
    rig.journal.full = True
    with pytest.raises(NotReady):
        await read(rig, ask("plain"))
    assert rig.engine.calls == []
    rig.journal.full = False
    await read(rig, ask("plain"))
    kinds = [event.kind for event in rig.journal.events[-2:]]
    assert kinds == [RequestEvent.KIND_OPENED, RequestEvent.KIND_CLOSED]
    assert rig.journal.events[-2].reserved_output_tokens == 1024


async def test_an_engine_that_fails_before_its_first_token_is_tried_again_then_the_fallback(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Upstream("gone"))]
    rig.engine.scripts["spare"] = [Script(["spare"])]
    assert text(await read(rig, ask("sturdy", stream=True))) == "spare"
    assert [call.deployment for call in rig.engine.calls] == ["small", "small", "small", "spare"]
    assert [(event.stage, event.attempt) for event in rig.closed()] == [(0, 0), (0, 1), (0, 2), (0, 3)]


async def test_an_engine_that_fails_after_its_first_token_ends_the_stream(rig, ask):
    rig.engine.scripts["small"] = [Script(["half"], error=Upstream("gone"))]
    answer = await rig.pipeline.generate(rig.context(), ask("sturdy", stream=True))
    seen = []
    with pytest.raises(Upstream):
        async for chunk in answer.chunks():
            seen.append(chunk.text)
    assert seen == ["half"]
    assert [call.deployment for call in rig.engine.calls] == ["small"]
    assert rig.closed()[0].usage.output_tokens == 1


async def test_a_full_deployment_is_not_asked_again_but_another_is(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Busy("full", retry_after_s=3))]
    rig.engine.scripts["spare"] = [Script(["spare"])]
    assert text(await read(rig, ask("sturdy"))) == "spare"
    assert [call.deployment for call in rig.engine.calls] == ["small", "spare"]


@pytest.mark.parametrize("error", [BadInput("too long", code="context_length_exceeded"), DeadlineExceeded("late")])
async def test_what_cannot_go_better_is_not_tried_again(rig, ask, error):
    rig.engine.scripts["small"] = [Script([], error=error)]
    with pytest.raises(type(error)):
        await read(rig, ask("sturdy"))
    assert len(rig.engine.calls) == 1


async def test_no_try_begins_after_the_deadline(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Upstream("gone"))]
    ctx = rig.context(remaining_s=0.0)
    with pytest.raises(DeadlineExceeded):
        await read(rig, ask("sturdy"), ctx)
    assert rig.engine.calls == []


async def test_an_engine_that_ends_without_a_finish_reason_has_failed(rig, ask):
    rig.engine.scripts["small"] = [Script(["half"], finish="")]
    with pytest.raises(Upstream):
        await read(rig, ask("plain"))
    assert rig.closed()[0].error_code == "engine_failed"


async def test_a_reader_who_leaves_stops_the_engine(rig, ask):
    rig.engine.scripts["small"] = [Script(["one"], hang=True)]
    answer = await rig.pipeline.generate(rig.context(), ask("plain", stream=True))
    await answer.aclose()
    assert rig.engine.calls[0].cancelled
    assert rig.closed()[0].error_code == "client_closed_request"
    assert rig.closed()[0].usage.output_tokens == 1


async def test_a_deployment_can_be_named_by_admins_only(rig, ask):
    from headrace_gateway.calls import Options
    from headrace_kit.errors import Forbidden, NotFound
    from headrace_kit.rpc import Identity

    call = ask("assistant", options=Options(route="large"))
    with pytest.raises(Forbidden):
        await read(rig, call)
    ctx = rig.context()
    ctx.identity = Identity("gateway", "dev", "k", scopes=frozenset({"admin"}))
    await read(rig, call, ctx)
    assert [made.deployment for made in rig.engine.calls] == ["large"]
    ctx = rig.context()
    ctx.identity = Identity("gateway", "dev", "k", scopes=frozenset({"admin"}))
    with pytest.raises(NotFound, match="did you mean 'large'"):
        await read(rig, ask("assistant", options=Options(route="lage")), ctx)


async def test_cached_tokens_have_their_prices_and_the_list_is_recorded(rig, ask):
    rig.engine.scripts["seer"] = [
        Script(["a", "b"], input_tokens=1000, cached_input_tokens=600, cache_write_input_tokens=300)
    ]
    ctx = rig.context()
    await read(rig, ask("seeing"), ctx)
    [event] = rig.closed()
    assert event.cost_nano_usd == 100 * 3000 + 600 * 300 + 300 * 3750 + 2 * 15000 == ctx.cost_nano_usd
    assert (event.price_version, event.usage.cache_write_input_tokens) == ("2026-11", 300)


async def test_an_adapter_is_asked_of_its_own_deployment_only(rig, ask):
    rig.engine.scripts["tuned"] = [Script([], error=Upstream("gone"))]
    await read(rig, ask("lawyer"))
    assert [(call.deployment, call.request.adapter) for call in rig.engine.calls] == [
        ("tuned", "legal"),
        ("tuned", "legal"),
        ("spare", ""),
    ]
