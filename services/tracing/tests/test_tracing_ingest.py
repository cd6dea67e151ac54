"""Spans on their way into a store that is there, slow, away, or picky."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from headrace_kit.errors import NotReady
from headrace_tracing.adapters.memory import MemorySpool
from headrace_tracing.domain.ingest import Ingest, IngestLimits
from headrace_tracing.domain.retention import Retention

QUICK = IngestLimits(buffer_bytes=1000, batch_spans=10, ack_wait_s=30, retry_least_s=0.001, retry_most_s=0.01)


@asynccontextmanager
async def running(store, metrics, limits=QUICK, spool=None):
    ingest = Ingest(store, spool or MemorySpool(), metrics, limits)
    await ingest.start()
    try:
        yield ingest
    finally:
        await ingest.stop()


def value(registry, name, **labels):
    return registry.get_sample_value(f"headrace_tracing_{name}", labels)


async def test_accepted_means_stored(store, metrics, registry, make_span):
    async with running(store, metrics) as ingest:
        await ingest.accept([make_span(), make_span()], 100)
        assert len(store.kept) == 2
        assert value(registry, "spans_stored_total") == 2
        await ingest.drain()
        assert value(registry, "buffered_bytes") == 0


async def test_duplicates_are_counted_and_not_stored(store, metrics, registry, make_span):
    span = make_span()
    async with running(store, metrics) as ingest:
        await ingest.accept([span, span], 100)
        await ingest.accept([span], 100)
    assert value(registry, "spans_stored_total") == 1
    assert value(registry, "spans_duplicate_total") == 2


async def test_while_the_store_is_away_spans_wait_and_none_is_lost(store, metrics, make_span):
    store.away = True
    spans = [make_span() for _ in range(30)]
    async with running(store, metrics) as ingest:
        for span in spans:
            await ingest.accept([span], 10)
        assert ingest.store_away and not store.kept
        store.away = False
        await ingest.drain()
        assert [span.span_id for span in store.kept.values()] == [span.span_id for span in spans]
        assert not ingest.store_away
        assert max(store.writes) <= QUICK.batch_spans


async def test_full_memory_refuses_and_takes_again_when_there_is_room(store, metrics, registry, make_span):
    go = asyncio.Event()

    class Slow(type(store)):
        async def write(self, spans):
            await go.wait()
            return await super().write(spans)

    slow = Slow()
    async with running(slow, metrics) as ingest:
        first = asyncio.create_task(ingest.accept([make_span()], 600))
        await asyncio.sleep(0)
        with pytest.raises(NotReady) as caught:
            await ingest.accept([make_span()], 600)
        assert caught.value.retry_after_s > 0
        assert value(registry, "exports_refused_total", reason="buffer_full") == 1
        assert value(registry, "spans_refused_total", reason="buffer_full") == 1
        go.set()
        await first
        await ingest.accept([make_span()], 600)
    assert len(slow.kept) == 2


async def test_a_full_disk_refuses_what_the_database_has_not_taken(store, metrics, registry, make_span):
    store.away = True
    spool = MemorySpool(room=1)
    async with running(store, metrics, spool=spool) as ingest:
        await ingest.accept([make_span()], 600)
        with pytest.raises(NotReady):
            await ingest.accept([make_span(), make_span()], 600)
        assert value(registry, "spans_refused_total", reason="buffer_full") == 2
        assert value(registry, "disk_spans") == 1
        store.away = False
        await ingest.drain()
        assert len(store.kept) == 1, "what was refused comes again from its sender"
        await ingest.accept([make_span()], 600)
    assert len(store.kept) == 2
    assert not spool.files
    assert value(registry, "buffered_spans") == value(registry, "disk_spans") == value(registry, "disk_bytes") == 0


async def test_what_an_earlier_process_left_is_written_first(store, metrics, registry, make_span):
    spool = MemorySpool()
    spool.left = [spool.keep([make_span(name="left"), make_span(name="left")]), spool.keep([make_span(name="damaged")])]
    spool.damaged = {"1"}
    async with running(store, metrics, spool=spool) as ingest:
        await ingest.accept([make_span(name="new")], 10)
        await ingest.drain()
    assert [span.name for span in store.kept.values()] == ["left", "left", "new"]
    assert value(registry, "spans_dropped_total", reason="unreadable") == 1
    assert not spool.files


async def test_what_a_process_that_goes_leaves_is_taken_over(store, metrics, make_span):
    spool = MemorySpool()
    async with running(store, metrics, IngestLimits(adopt_s=0.001), spool) as ingest:
        spool.left = [spool.keep([make_span()])]
        async with asyncio.timeout(30):
            while not store.kept:
                await asyncio.sleep(0.001)
        await ingest.drain()


async def test_a_slow_store_does_not_hold_up_the_sender(store, metrics, make_span):
    go = asyncio.Event()

    class Slow(type(store)):
        async def write(self, spans):
            await go.wait()
            return await super().write(spans)

    slow = Slow()
    limits = IngestLimits(ack_wait_s=0.01)
    async with running(slow, metrics, limits) as ingest:
        await ingest.accept([make_span()], 10)
        assert not slow.kept
        go.set()
        await ingest.drain()
        assert len(slow.kept) == 1


async def test_one_bad_span_costs_only_itself(store, metrics, registry, make_span):
    store.refused = {"bad"}
    async with running(store, metrics) as ingest:
        spans = [make_span(name="bad" if number == 6 else "good") for number in range(9)]
        await ingest.accept(spans, 100)
        await ingest.drain()
    assert [span.name for span in store.kept.values()].count("good") == 8
    assert value(registry, "spans_dropped_total", reason="refused_by_store") == 1


async def test_a_fault_of_ours_keeps_the_spans(store, metrics, make_span):
    class Broken(type(store)):
        broken = True

        async def write(self, spans):
            if self.broken:
                raise LookupError("no such table")
            return await super().write(spans)

    broken = Broken()
    async with running(broken, metrics) as ingest:
        await ingest.accept([make_span()], 10)
        broken.broken = False
        await ingest.drain()
    assert len(broken.kept) == 1


async def test_what_is_on_disk_stays_there_at_the_end(store, metrics, registry, make_span):
    store.away = True
    spool = MemorySpool()
    async with running(store, metrics, spool=spool) as ingest:
        await ingest.accept([make_span() for _ in range(7)], 10)
        await ingest.quiet()
    assert [len(spans) for spans in spool.files.values()] == [7]


async def test_retention_goes_by_whole_days(store, metrics, registry, make_span):
    await store.write([make_span(number) for number in range(1, 8)])
    day = 86_400
    retention = Retention(store, metrics, lambda: 14 * day, lambda: 3 * day, now_s=lambda: 20.5 * day)
    assert await retention.sweep() == 7
    assert store.dropped == [(6, 17), (6, 17)]
    assert not store.kept
    assert value(registry, "traces_deleted_total") == 7
