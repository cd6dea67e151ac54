"""The event log on disk."""

from __future__ import annotations

import asyncio
import errno

import pytest

from headrace_gateway.ledger.frames import frame, frames
from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.reconcile import CRASHED, OldLog, closing, find_old_logs
from headrace_gateway.ledger.segments import Segments
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent


def opened(number, **more):
    return RequestEvent(kind=RequestEvent.KIND_OPENED, request_id=f"r{number}", **more)


def closed(number):
    return RequestEvent(kind=RequestEvent.KIND_CLOSED, request_id=f"r{number}")


@pytest.fixture
async def log(tmp_path):
    made = EventLog(tmp_path, 0.001, segment_bytes=200)
    await made.start()
    yield made
    await made.stop()


async def settled(log, position):
    async with asyncio.timeout(5):
        while log.durable < position:
            await asyncio.sleep(0.001)


def test_frames_end_at_the_first_damage():
    data = frame(b"one") + frame(b"two") + frame(b"three")
    assert list(frames(data)) == [b"one", b"two", b"three"]
    for cut in range(len(frame(b"one")) + 1, len(data)):
        whole = list(frames(data[:cut]))
        assert whole == [b"one", b"two", b"three"][: len(whole)] and len(whole) < 3
    damaged = bytearray(data)
    damaged[len(frame(b"one")) + 9] ^= 1
    assert list(frames(bytes(damaged))) == [b"one"]
    assert list(frames(b"\xff" * 64)) == []


async def test_an_opened_event_is_on_disk_when_its_call_returns(log):
    await log.opened(opened(1))
    assert [position for position, _ in Segments(log.segments.folder).read(0, 10)] == [1]


async def test_positions_grow_by_one_over_groups_and_segments(log):
    await asyncio.gather(*(log.opened(opened(number)) for number in range(20)))
    for number in range(20):
        log.closed(closed(number))
    await settled(log, 40)
    assert [position for position, _ in log.segments.read(0, 100)] == list(range(1, 41))
    assert len(log.segments.firsts()) > 1
    assert [position for position, _ in await log.read(5, 3)] == [6, 7, 8]
    log._tail.clear()
    assert [position for position, _ in await log.read(5, 3)] == [6, 7, 8]
    assert await log.read(40, 3) == []


async def test_segments_are_deleted_but_not_with_attempts_that_still_run(log):
    await log.opened(opened(1))
    for number in range(2, 12):
        await log.opened(opened(number))
        log.closed(closed(number))
    await settled(log, 21)
    await log.discard(21)
    assert log.segments.firsts()[0] == 1
    log.closed(closed(1))
    await settled(log, 22)
    await log.discard(22)
    assert len(log.segments.firsts()) == 1
    assert log.segments.last() == 22


async def test_a_full_disk_refuses_what_opens_and_keeps_what_closes(log, monkeypatch):
    await log.opened(opened(1))
    written = log._write
    monkeypatch.setattr("headrace_gateway.ledger.log._RETRY_S", 0.001)

    def full(first, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "_write", full)
    log.closed(closed(1))
    with pytest.raises(NotReady):
        await log.opened(opened(2))
    assert "No space left" in log.problem
    monkeypatch.setattr(log, "_write", written)
    await log.opened(opened(3))
    await settled(log, 3)
    names = [RequestEvent.FromString(payload).request_id for _, payload in log.segments.read(0, 10)]
    assert names == ["r1", "r1", "r3"] and log.problem == ""


async def test_what_a_crash_left_open_is_found_and_closed(tmp_path):
    crashed = EventLog(tmp_path, 0.001)
    await crashed.start()
    await crashed.opened(opened(1, reserved_output_tokens=64, tenant="dev"))
    await crashed.opened(opened(2))
    await crashed.append(closed(2))
    assert find_old_logs(tmp_path, "other") == [], "its process still lives"
    await crashed.stop()
    segment = crashed.segments.path(1)
    segment.write_bytes(segment.read_bytes() + frame(b"torn")[:-2])

    [old] = find_old_logs(tmp_path, "other")
    assert (old.log_id, old.durable) == (crashed.log_id, 3)
    [left] = old.left_open()
    end = closing(left, None, None)
    assert (end.kind, end.error_code, end.request_id) == (RequestEvent.KIND_CLOSED, CRASHED, "r1")
    assert (end.reserved_output_tokens, end.tenant, end.usage.output_tokens) == (64, "dev", 0)
    await old.discard(3)
    assert not old.segments.folder.exists()


async def test_an_empty_old_log_goes_away(tmp_path):
    empty = EventLog(tmp_path, 0.001)
    await empty.start()
    await empty.stop()
    [old] = find_old_logs(tmp_path, "other")
    assert isinstance(old, OldLog) and old.durable == 0
    await old.discard(0)
    assert list(tmp_path.iterdir()) == []
