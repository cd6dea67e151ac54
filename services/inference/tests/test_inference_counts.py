"""What is remembered of attempts."""

from __future__ import annotations

from headrace_inference.domain.counts import Counts
from headrace_inference.ports import Chunk, Usage


def test_an_attempt_is_counted_as_its_pieces_go_out():
    counts = Counts()
    count = counts.begin("a")
    count.add(Chunk(text="x", tokens=1, prompt=Usage(12, 5)))
    count.add(Chunk(text="yz", tokens=2))
    count.add(Chunk(index=1))
    known = counts.get("a")
    assert (known.usage, known.running) == (Usage(12, 5, 3), True)
    count.add(Chunk(finish_reason="stop", usage=Usage(12, 5, 4)))
    assert counts.get("a").usage == Usage(12, 5, 4)


def test_the_oldest_are_forgotten_and_those_without_a_name_never_kept():
    counts = Counts(most=2)
    for name in ("a", "", "b", "a", "c"):
        counts.begin(name)
    assert [name for name in ("", "a", "b", "c") if counts.get(name)] == ["a", "c"]
