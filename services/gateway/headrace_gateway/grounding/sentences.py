"""Where sentences end: in text that is whole, and in text that is still coming."""

from __future__ import annotations

import re
from collections.abc import Iterator

_END = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)]*\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_SHORT = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|cf|vs|no|nr|approx|dr|mr|mrs|ms|st|\d{1,2}|[A-Za-z])\.$", re.IGNORECASE)
_LONGEST = 2000


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, without white space around it."""
    start = 0
    while (end := ending(text, start)) is not None:
        yield from _trimmed(text, start, end)
        start = end
    yield from _trimmed(text, start, len(text))


def ending(text: str, start: int) -> int | None:
    """Where the sentence at `start` ends, behind the white space that follows; None where no end is in sight."""
    for match in _END.finditer(text, start):
        ends = match.end() == match.start() or "\n" in match[0] or not _SHORT.search(text[start : match.start()])
        if ends and text[start : match.end()].strip():
            return match.end()
    return start + _LONGEST if len(text) - start > _LONGEST else None


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    if part.strip():
        yield start + left, start + left + len(part.strip())
