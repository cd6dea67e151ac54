"""Batches on a real disk."""

from __future__ import annotations

import errno
import os

import pytest

from headrace_tracing.adapters.spool import DiskSpool
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.spans import SpanEvent
from headrace_tracing.ports import NoRoom, Unreadable


@pytest.fixture
def spool():
    opened = []

    def make(folder, most_bytes=10**6):
        made = DiskSpool(folder, lambda: most_bytes)
        opened.append(made)
        return made, made.open()

    yield make
    for made in opened:
        made.close()


def rich(make_span):
    return make_span(
        attributes={"text": "ä\N{SNOWMAN}", "list": [1, 2.5, True, None, {"in": "it"}], "big": -(2**63)},
        events=(SpanEvent("event", 7, {"n": 1}),),
        links=(("0" * 31 + "1", "0" * 15 + "2"),),
        content=Content((Turn("user", "hello"),), (Turn("assistant", more="[1]"),), (PassageSeen(1, score=0.5),), "{}"),
        sealed=b"\x00\xff",
    )


def test_what_is_kept_comes_back_in_the_next_process(tmp_path, spool, make_span):
    first, found = spool(tmp_path)
    assert found == []
    spans = [[rich(make_span)], [make_span(), make_span()]]
    kept = [first.keep(batch) for batch in spans]
    assert [first.read(batch) for batch in kept] == spans
    other, found = spool(tmp_path)
    assert found == [], "the first one lives"
    first.close()
    adopted = other.adopt()
    assert [batch.spans for batch in adopted] == [1, 2]
    assert [other.read(batch) for batch in adopted] == spans
    for batch in adopted:
        other.drop(batch)
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_it_holds_so_much_and_no_more(tmp_path, spool, make_span):
    made, _ = spool(tmp_path)
    size = made.keep([make_span()]).size_bytes
    made.close()
    made, left = spool(tmp_path, 2 * size + 20)
    made.keep([make_span()])
    with pytest.raises(NoRoom, match="buffer_full"):
        made.keep([make_span()])
    made.drop(left[0])
    made.keep([make_span()])


def test_a_full_disk_leaves_nothing_behind(tmp_path, spool, make_span, monkeypatch):
    made, _ = spool(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom, match="disk"):
        made.keep([make_span()])
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    assert made.read(made.keep([rich(make_span)]))


def test_what_the_disk_damaged_is_never_taken_for_spans(tmp_path, spool, make_span):
    made, _ = spool(tmp_path)
    kept = made.keep([make_span()])
    path = next(tmp_path.rglob("*.spans"))
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Unreadable, match="damaged"):
        made.read(kept)
    path.unlink()
    with pytest.raises(Unreadable):
        made.read(kept)


def test_only_its_owner_may_look(tmp_path, spool, make_span):
    made, _ = spool(tmp_path / "spool")
    made.keep([make_span()])
    assert (tmp_path / "spool").joinpath(next((tmp_path / "spool").iterdir())).stat().st_mode & 0o077 == 0
