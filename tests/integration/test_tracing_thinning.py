"""Spans of traces that are over go, their sums stay: with writers beside, with kills, on a real database."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest
from msgspec.structs import replace

from headrace_kit.errors import NotFound
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.spans import Span
from headrace_tracing.domain.thinning import Rules, place
from tests.integration.tracing_reading import pool, reader, spans_of, store, who

__all__ = ["pool", "reader", "store"]

SERVICES = ("tracing",)
CONFIG = """
tenants: {red: {}, whole: {trace_keep: 100%}}
services: {tracing: {thin: {keep: 0%, after: 1s, slow: 1h}}}
"""
NOBODY = Rules(share=lambda _: 0, slow_ns=10**12, rollouts=True, quiet_s=0)


def said(spans: list[Span]) -> list[Span]:
    """The same, with a content at the first that is kept in full."""
    content = Content(input=(Turn("user", "a very particular wording"),))
    return [replace(spans[0], content=content, sealed=b"sealed"), *spans[1:]]


async def everything(store, tenant: str) -> object:
    (found,) = await store.measure(TraceFilter(tenant=tenant, from_ns=0, to_ns=10**18))
    return found


async def settle_all(store, rules=NOBODY) -> int:
    done = 0
    while (now := await store.settle(rules.outcome, rules.quiet_s, 7)).traces:
        done += now.traces
    return done


async def test_sums_stay_exact_and_what_is_sent_again_is_not_counted_again(store):
    traces = [said(spans_of(0xA000 + number, "exact")) for number in range(20)]
    for spans in traces:
        await store.write(spans)
    kept = traces[0][0].trace_id
    await store.save(kept, "exact")
    before = await everything(store, "exact")
    listed = await store.traces(TraceFilter(tenant="exact"), 100)
    assert len(await store.traces(TraceFilter(tenant="exact", text="particular wording"), 100)) == 20
    await settle_all(store)
    assert await everything(store, "exact") == before
    after = await store.traces(TraceFilter(tenant="exact"), 100)
    assert [replace(one, thinned=0) for one in after] == listed
    assert {one.trace_id: one.thinned for one in after} == {
        spans[0].trace_id: 0 if spans[0].trace_id == kept else 3 for spans in traces
    }
    assert [one.trace_id for one in await store.traces(TraceFilter(tenant="exact", text="particular"), 100)] == [kept]
    assert len(await store.spans(kept, "exact", 10)) == 3
    for spans in traces[1:]:
        assert await store.spans(spans[0].trace_id, "exact", 10) == []
    # A sender that comes again, with one span more.
    late = replace(traces[1][0], span_id="00000000000000ff", content=None, sealed=b"")
    assert await store.write([*traces[1], late]) == 1
    assert await store.write(traces[2]) == 0
    (summary,) = await store.summaries(late.trace_id)
    assert (summary.spans, summary.thinned, summary.usage.cost_nano_usd) == (4, 3, 4)
    assert await store.spans(late.trace_id, "exact", 10) == [late]
    await settle_all(store)
    (summary,) = await store.summaries(late.trace_id)
    assert (summary.spans, summary.thinned) == (4, 4)
    assert await settle_all(store) == 0


async def test_a_share_of_plain_traces_stays_and_every_replica_takes_the_same(store):
    ids = list(range(0xB000, 0xB100))
    for number in ids:
        await store.write(spans_of(number, "shared", 1))
    rules = Rules(share=lambda _: 3000, slow_ns=10**12, rollouts=True, quiet_s=0)
    await asyncio.gather(*(settle_all(store, rules) for _ in range(4)))
    await settle_all(store, rules)
    found = await store.traces(TraceFilter(tenant="shared"), 1000)
    assert {int(one.trace_id, 16) for one in found if not one.thinned} == {
        number for number in ids if place(f"{number:032x}") < 3000
    }


async def test_a_trace_is_kept_for_any_of_its_parts(store):
    failed = replace(spans_of(0xC001, "", 1)[0], span_id="00000000000000ee", status="error")
    rejected = replace(spans_of(0xC002, "parts", 1)[0], attributes={genai.BILLED: True, genai.VERDICT: "rejected"})
    plain = replace(spans_of(0xC003, "", 1)[0], span_id="00000000000000ee")
    await store.write([*spans_of(0xC001, "parts"), failed])
    await store.write([rejected])
    await store.write([*spans_of(0xC003, "parts"), plain])
    await settle_all(store)
    left = {number: len(await store.spans(f"{number:032x}", None, 10)) for number in (0xC001, 0xC002, 0xC003)}
    assert left == {0xC001: 4, 0xC002: 1, 0xC003: 0}


async def test_writers_and_sweeps_side_by_side_lose_and_double_nothing(store):
    traces = [spans_of(0xD000 + number, "busy", 6) for number in range(30)]
    turns = [[spans[turn] for spans in traces] for turn in range(6)]

    async def send() -> None:
        for batch in turns:
            await store.write(batch)
            await store.write(list(reversed(batch)))

    async def sweep() -> None:
        while not writers.done():
            await store.settle(NOBODY.outcome, 0, 5)

    writers = asyncio.gather(*(send() for _ in range(3)))
    await asyncio.gather(writers, sweep(), sweep())
    await settle_all(store)
    for spans in traces:
        (summary,) = await store.summaries(spans[0].trace_id)
        assert (summary.spans, summary.thinned, summary.usage.cost_nano_usd) == (6, 6, 6)
        assert await store.spans(spans[0].trace_id, None, 10) == []


async def test_the_service_thins_by_its_config_and_says_so(part, reader, store):
    ids = {name: f"{0xE000 + number:032x}" for number, name in enumerate(("plain", "whole", "kept", "liked"))}
    for name, trace_id in ids.items():
        tenant = "whole" if name == "whole" else "red"
        await store.write(spans_of(int(trace_id, 16), tenant))
        if name == "kept":
            request = messages_pb2.KeepTraceRequest(trace_id=trace_id)
            assert (await reader.peer.unary(reader.stub.KeepTrace, request, who(tenant))).saved
            with pytest.raises(NotFound):
                await reader.peer.unary(reader.stub.KeepTrace, request, who("whole"))
        if name == "liked":
            given = messages_pb2.AddFeedbackRequest(trace_id=trace_id, score=1)
            await reader.peer.unary(reader.stub.AddFeedback, given, who(tenant))
    # The service dies in the midst of it, and does the rest when it is back.
    for number in range(0xF000, 0xF400):
        await store.write(spans_of(number, "red", 1))
    restarts = part.platform.status().units["tracing"].restarts
    part.platform.kill("tracing")
    part.platform.wait_ready("tracing", restarts=restarts + 1)
    async with asyncio.timeout(90):
        while any(
            not one.thinned
            for one in await store.traces(TraceFilter(tenant="red"), 1000)
            if not (one.saved or one.said.count)
        ):
            await asyncio.sleep(0.2)
    trace = await reader.trace(ids["plain"], "red")
    assert (len(trace.spans), trace.summary.spans, trace.summary.spans_thinned) == (0, 3, 3)
    assert (trace.cost_usd, trace.spans_left_out) == ("0.000000003", 0)
    for name, tenant in (("whole", "whole"), ("kept", "red"), ("liked", "red")):
        assert len((await reader.trace(ids[name], tenant)).spans) == 3, name
    ops = f"http://127.0.0.1:{part.platform.port('tracing-ops')}/metrics"
    told = (await asyncio.to_thread(urllib.request.urlopen, ops)).read().decode()
    thinned = next(line for line in told.splitlines() if line.startswith("headrace_tracing_spans_thinned_total"))
    assert float(thinned.split()[1]) > 0
    assert 'headrace_tracing_traces_settled_total{outcome="thinned"}' in told
