"""The ledger over fakes of its stores: crashes, gaps, duplicates, away stores."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from prometheus_client import CollectorRegistry

from headrace_gateway.ledger import frames, log, ship
from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.progress import advance
from headrace_gateway.ledger.reader import LogReader
from headrace_gateway.ledger.recover import CRASHED
from headrace_gateway.ledger.service import LedgerService
from headrace_gateway.ledger.ship import Shipper
from headrace_gateway.ledger.usage import add_up
from headrace_gateway.ledger.write import Writer
from headrace_kit.errors import BadInput, NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent


class FakeStream:
    """An in-memory stream that can be away, and can forget."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, bytes]] = []
        self.away = False
        self._count = 0

    async def add(self, events):
        if self.away:
            raise NotReady("away")
        for event in events:
            self._count += 1
            self.entries.append((f"{self._count:09d}", event))

    async def read(self, after, limit):
        if self.away:
            raise NotReady("away")
        return [entry for entry in self.entries if entry[0] > after][:limit]


class FakeStore:
    """A table in memory, with the same rules as the real one."""

    def __init__(self) -> None:
        self.rows: dict[tuple, RequestEvent] = {}
        self.progress: dict[str, int] = {}
        self.position = ""
        self.away = False

    async def write(self, fetch):
        if self.away:
            raise NotReady("away")
        position, events = await fetch(self.position)
        for event in events:
            present = self.rows.get(log.key(event))
            if present is None or (present.kind == RequestEvent.KIND_OPENED and event.kind == RequestEvent.KIND_CLOSED):
                self.rows[log.key(event)] = event
        self.progress |= advance(self.progress, events)
        self.position = position
        return len(events)

    async def confirmed(self, log_id):
        if self.away:
            raise NotReady("away")
        return self.progress.get(log_id, 0)

    async def usage(self, query):
        return [{"model": "m", "requests": 1, "input_tokens": 2, "output_tokens": 3, "cost_nano_usd": 1_500}]


def event(**fields) -> RequestEvent:
    return RequestEvent(request_id=str(uuid.uuid4()), **fields)


async def write(journal: EventLog, count: int) -> list[RequestEvent]:
    events = []
    for _ in range(count):
        opened = event(tenant="dev")
        await journal.opened(opened)
        closed = RequestEvent()
        closed.CopyFrom(opened)
        journal.closed(closed)
        events.append(closed)
    return events


async def test_an_opened_event_is_on_disk_before_it_returns(tmp_path):
    journal = EventLog(tmp_path)
    await journal.start()
    opened = event()
    await journal.opened(opened)
    read = LogReader(tmp_path, 0).read()
    assert [(e.request_id, e.kind, e.sequence) for e in read] == [(opened.request_id, RequestEvent.KIND_OPENED, 1)]
    await journal.stop()


async def test_a_torn_tail_is_dropped_and_writing_goes_on(tmp_path):
    journal = EventLog(tmp_path)
    await journal.start()
    await write(journal, 3)
    await journal.stop()
    path = frames.segments(tmp_path)[-1][1]
    path.write_bytes(path.read_bytes() + frames.encode(event())[:-3])
    again = EventLog(tmp_path)
    assert await again.start() == []
    assert again.log_id == journal.log_id
    await write(again, 1)
    await again.stop()
    assert [e.sequence for e in LogReader(tmp_path, 0).read()] == list(range(1, 7))
    assert [e.sequence for e in LogReader(tmp_path, 6).read()] == [7, 8]


async def test_a_damaged_byte_ends_a_segment_without_inventing_events(tmp_path):
    journal = EventLog(tmp_path)
    await journal.start()
    await write(journal, 3)
    await journal.stop()
    path = frames.segments(tmp_path)[-1][1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    read = list(frames.decode(bytes(data)))
    assert 0 < len(read) < 6


async def test_a_second_writer_is_refused(tmp_path):
    first = EventLog(tmp_path)
    await first.start()
    with pytest.raises(NotReady, match="another gateway"):
        await EventLog(tmp_path).start()
    await first.stop()


async def test_a_failing_disk_refuses_the_attempt(tmp_path, monkeypatch):
    journal = EventLog(tmp_path)
    await journal.start()
    await write(journal, 1)

    def broken(batch: bytes, reached: int) -> None:
        raise OSError(28, "No space left on device")

    journal._write = broken
    monkeypatch.setattr(log, "RETRY_S", 0.01)
    for _ in range(3):
        with pytest.raises(NotReady):
            await journal.opened(event())
    assert journal.problems() == ["event log: No space left on device"]
    del journal._write
    await until(lambda: not journal.problems())
    await write(journal, 1)
    await journal.stop()
    reader = LogReader(tmp_path, 0)
    assert [e.sequence for e in reader.read()] == list(range(1, journal.sequence + 1)), "no gap"


async def test_segments_are_deleted_only_when_confirmed_and_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_BYTES", 1)
    journal = EventLog(tmp_path, fsync_ms=0)
    await journal.start()
    held = event()
    await journal.opened(held)
    await write(journal, 5)
    await until(lambda: journal.durable == journal.sequence)
    newest = journal.sequence
    journal.trim(newest)
    assert frames.segments(tmp_path)[0][0] == 1, "the open attempt holds its segment"
    journal.closed(held)
    await until(lambda: journal.durable == journal.sequence)
    journal.trim(newest)
    assert frames.segments(tmp_path)[0][0] > 1
    await journal.stop()


def service(folder, stream, store) -> LedgerService:
    return LedgerService(folder, stream, store, CollectorRegistry())


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_rows_arrive_exactly_once(tmp_path):
    stream, store = FakeStream(), FakeStore()
    ledger = service(tmp_path, stream, store)
    await ledger.start()
    events = await write(ledger.journal, 20)
    await until(lambda: sum(row.kind == RequestEvent.KIND_CLOSED for row in store.rows.values()) == 20)
    await ledger.stop()
    assert store.rows.keys() == {log.key(e) for e in events}


async def test_attempts_that_a_crash_left_open_are_closed_at_the_next_start(tmp_path):
    stream, store = FakeStream(), FakeStore()
    crashed = EventLog(tmp_path)
    await crashed.start()
    left = event(tenant="dev", reserved_output_tokens=100)
    await crashed.opened(left)
    await crashed.stop()
    ledger = service(tmp_path, stream, store)
    await ledger.start()
    await until(lambda: store.rows.get(log.key(left), event()).kind == RequestEvent.KIND_CLOSED)
    row = store.rows[log.key(left)]
    assert (row.error_code, row.cost_nano_usd, row.reserved_output_tokens) == (CRASHED, 0, 100)
    await ledger.stop()


@pytest.mark.parametrize("away", ["stream", "store"])
async def test_requests_go_on_while_a_store_is_away_and_rows_follow(tmp_path, away, monkeypatch):
    monkeypatch.setattr(ship, "RETRY_S", 0.01)
    stream, store = FakeStream(), FakeStore()
    target = {"stream": stream, "store": store}[away]
    target.away = True
    ledger = service(tmp_path, stream, store)
    await ledger.start()
    await write(ledger.journal, 10)
    assert not store.rows
    target.away = False
    await until(lambda: sum(row.kind == RequestEvent.KIND_CLOSED for row in store.rows.values()) == 10)
    await ledger.stop()


async def test_what_the_stream_lost_is_sent_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "STUCK_S", 0)
    stream, store = FakeStream(), FakeStore()
    journal = EventLog(tmp_path, fsync_ms=0)
    await journal.start()
    shipped = asyncio.Event()
    shipper = Shipper(journal, LogReader(tmp_path, 0), stream, store)
    running = asyncio.create_task(shipper.run(shipped))
    events = await write(journal, 10)
    await until(lambda: len(stream.entries) == 20)
    del stream.entries[5:12]  # the stream's server was killed between two fsyncs
    writer = Writer(stream, store)
    while await writer.step():
        pass
    assert store.progress[journal.log_id] == 5, "progress stops at the gap"
    await shipper.confirm()
    await shipper.confirm()
    await until(lambda: len(stream.entries) == 13 + 15)
    while await writer.step():
        pass
    assert store.progress[journal.log_id] == 20
    assert store.rows.keys() == {log.key(e) for e in events}
    assert all(row.kind == RequestEvent.KIND_CLOSED for row in store.rows.values())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await journal.stop()


async def test_junk_in_the_stream_is_passed_over(tmp_path):
    stream, store = FakeStream(), FakeStore()
    await stream.add([b"\xff\xff\xff"])
    good = event(log_id="x", sequence=1, kind=RequestEvent.KIND_CLOSED)
    await stream.add([good.SerializeToString()])
    writer = Writer(stream, store)
    assert await writer.step() == 1
    assert list(store.rows) == [log.key(good)]


async def test_usage_is_in_decimal_dollars_and_an_unknown_group_is_named():
    from headrace_gateway.ledger.ports import UsageQuery

    rows = await add_up(FakeStore(), UsageQuery(None, ["model"], None, None))
    assert rows == [{"model": "m", "requests": 1, "input_tokens": 2, "output_tokens": 3, "cost_usd": "0.0000015"}]
    with pytest.raises(BadInput) as caught:
        await add_up(FakeStore(), UsageQuery(None, ["modle"], None, None))
    assert caught.value.param == "group_by"
