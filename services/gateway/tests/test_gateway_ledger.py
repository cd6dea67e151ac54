"""From the log to the ledger, each row exactly once, whatever is lost or comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime

import pytest

from headrace_gateway.fakes import FakeCounts, FakeLedgerStore, FakeStream
from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.reconcile import Used
from headrace_gateway.ledger.service import Ledger
from headrace_gateway.ledger.ship import Shipper
from headrace_gateway.ledger.usage import Group, read_query
from headrace_gateway.ledger.writer import LedgerWriter, rows_of
from headrace_kit.config.deployments import Price
from headrace_kit.errors import BadInput, NotReady
from headrace_kit.events import advance
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent


def event(kind, number, **more):
    return RequestEvent(kind=kind, request_id=f"r{number}", **more)


def pair(number):
    opened = event(RequestEvent.KIND_OPENED, number)
    closed = event(RequestEvent.KIND_CLOSED, number, cost_nano_usd=number)
    return opened, closed


class MemoryLog:
    """A source of events in memory."""

    def __init__(self, log_id="log"):
        self.log_id, self.events, self.discarded = log_id, [], 0

    @property
    def durable(self):
        return len(self.events)

    def append(self, *events):
        for item in events:
            item.log_id, item.sequence = self.log_id, len(self.events) + 1
            self.events.append(item)

    async def read(self, after, limit):
        return [(item.sequence, item.SerializeToString()) for item in self.events[after : after + limit]]

    async def discard(self, upto):
        self.discarded = upto


@pytest.mark.parametrize(
    ("reached", "ahead", "positions", "result"),
    [
        (0, [], [1, 2, 3], (3, [])),
        (0, [], [2, 3], (0, [2, 3])),
        (0, [2, 3], [1], (3, [])),
        (5, [], [1, 2, 5], (5, [])),
        (5, [8], [6, 6, 9], (6, [8, 9])),
        (5, [], [], (5, [])),
    ],
)
def test_progress_stops_at_a_gap(reached, ahead, positions, result):
    assert advance(reached, ahead, positions) == result


def test_one_row_an_attempt_and_the_first_end_counts():
    opened, closed = pair(1)
    again = event(RequestEvent.KIND_CLOSED, 1, cost_nano_usd=99)
    assert rows_of([opened, closed, again, opened]) == [closed]
    other = event(RequestEvent.KIND_OPENED, 1, attempt=1)
    assert rows_of([opened, other]) == [opened, other]


@pytest.fixture
def parts():
    log, stream, store = MemoryLog(), FakeStream(), FakeLedgerStore()
    grown = asyncio.Event()
    shipper = Shipper(log, grown, [], stream, store.progress, lambda _: None, lost_s=-1)
    return log, stream, store, shipper, LedgerWriter(stream, store)


async def drain(writer):
    while await writer.step():
        pass


async def test_everything_arrives_once(parts):
    log, _, store, shipper, writer = parts
    for number in range(10):
        log.append(*pair(number))
    await shipper.ship()
    await drain(writer)
    await shipper.confirm()
    assert {key[0]: row.cost_nano_usd for key, row in store.rows.items()} == {f"r{n}": n for n in range(10)}
    assert log.discarded == 20


async def test_a_commit_whose_answer_was_lost_changes_nothing(parts):
    log, stream, store, shipper, writer = parts
    log.append(*pair(1), *pair(2))
    await shipper.ship()
    store.fail_after_commit = True
    with pytest.raises(NotReady):
        await writer.step()
    stream.redeliver()
    await drain(writer)
    assert len(store.rows) == 2 and store.reached["log"] == (4, [])


async def test_what_the_stream_lost_is_sent_again(parts):
    log, stream, store, shipper, writer = parts
    log.append(*pair(1), *pair(2))
    await shipper.ship()
    stream.flush()
    await drain(writer)
    assert store.rows == {}
    await shipper.confirm()
    await shipper.ship()
    await drain(writer)
    assert len(store.rows) == 2 and store.reached["log"] == (4, [])


async def test_nothing_is_forgotten_while_stream_or_store_are_away(parts):
    log, stream, store, shipper, writer = parts
    log.append(*pair(1))
    stream.away = True
    with pytest.raises(NotReady):
        await shipper.ship()
    stream.away, store.away = False, True
    await shipper.ship()
    with pytest.raises(NotReady):
        await writer.step()
    with pytest.raises(NotReady):
        await shipper.confirm()
    assert log.discarded == 0
    store.away = False
    stream.redeliver()
    await drain(writer)
    await shipper.confirm()
    assert log.discarded == 2


@pytest.mark.parametrize("seed", range(40))
async def test_any_interleaving_gives_the_same_ledger(seed):
    dice = random.Random(seed)
    log, stream, store = MemoryLog(), FakeStream(), FakeLedgerStore()
    shipper = Shipper(log, asyncio.Event(), [], stream, store.progress, lambda _: None, lost_s=-1)
    writers = [LedgerWriter(stream, store), LedgerWriter(stream, store)]
    number = 0
    for _ in range(120):
        match dice.randrange(8):
            case 0 | 1:
                log.append(*pair(number))
                number += 1
            case 2:
                await shipper.ship()
            case 3 | 4:
                store.fail_after_commit = dice.random() < 0.3
                with contextlib.suppress(NotReady):
                    await dice.choice(writers).step()
            case 5:
                stream.redeliver()
            case 6:
                if dice.random() < 0.3:
                    stream.flush()
            case 7:
                await shipper.confirm()
    store.fail_after_commit = False
    for _ in range(3):
        stream.redeliver()
        await shipper.ship()
        await drain(writers[0])
        await shipper.confirm()
    assert {key[0]: row.cost_nano_usd for key, row in store.rows.items()} == {f"r{n}": n for n in range(number)}
    assert store.reached.get("log", (0, []))[0] == 2 * number == log.discarded


async def test_a_restart_takes_over_the_log_of_a_crash(tmp_path):
    stream, store = FakeStream(), FakeLedgerStore()
    crashed = EventLog(tmp_path, 0.001)
    await crashed.start()
    await crashed.opened(event(RequestEvent.KIND_OPENED, 1, reserved_output_tokens=7))
    await crashed.stop()

    counts = FakeCounts([Used(Usage(input_tokens=9), True), Used(Usage(input_tokens=9, output_tokens=4), False)])
    price = Price(version="now", input_usd_per_million=1, output_usd_per_million=2)
    ledger = Ledger(tmp_path, 0.001, lambda _: stream, store, lambda _: None, counts, lambda _: price)
    await ledger.start()
    async with asyncio.timeout(10):
        while crashed.segments.folder.exists():
            await asyncio.sleep(0.01)
    await ledger.stop()
    [row] = store.rows.values()
    assert (row.kind, row.error_code, row.reserved_output_tokens) == (RequestEvent.KIND_CLOSED, "gateway_crashed", 7)
    assert counts.asked[-1] == ["r1/0/0"], "asked again while the attempt still ran"
    assert (row.usage.input_tokens, row.usage.output_tokens, row.cost_nano_usd) == (9, 4, 17_000)
    assert row.price_version == "now"


async def test_a_crash_is_closed_with_nothing_known_where_nobody_counted(tmp_path):
    stream, store = FakeStream(), FakeLedgerStore()
    crashed = EventLog(tmp_path, 0.001)
    await crashed.start()
    await crashed.opened(event(RequestEvent.KIND_OPENED, 1))
    await crashed.stop()
    ledger = Ledger(tmp_path, 0.001, lambda _: stream, store, lambda _: None, FakeCounts([]), lambda _: None, 0)
    await ledger.start()
    async with asyncio.timeout(10):
        while crashed.segments.folder.exists():
            await asyncio.sleep(0.01)
    await ledger.stop()
    [row] = store.rows.values()
    assert (row.error_code, row.usage.output_tokens, row.cost_nano_usd) == ("gateway_crashed", 0, 0)


def test_a_usage_query_reads_days_and_times():
    query = read_query("day, model", "2026-11-01", "2026-11-02T12:00:00+01:00", "dev")
    assert query.groups == (Group.DAY, Group.MODEL)
    assert query.start == datetime(2026, 11, 1, tzinfo=UTC) and query.end == datetime(2026, 11, 2, 11, tzinfo=UTC)
    assert read_query("", "", "2026-11-02T12:00:00 01:00", None).end == query.end
    for bad in (("dya", "", ""), ("day", "x", ""), ("day", "2026-11-02", "2026-11-01")):
        with pytest.raises(BadInput):
            read_query(*bad, None)
