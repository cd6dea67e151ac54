"""Who asked what when, and which question is one that was asked before."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from headrace_tracing.domain.edits import similarity

_WORD = re.compile(r"\w+")
_LEAST_LETTERS = 12
"""Shorter ones, like `go on` and `thank you`, are said again for other reasons."""
_RECENT = 20


class Ask(Struct, frozen=True):
    """One request as a question. Times are nanoseconds since 1970.

    `question` is its beginning, as it was kept. `user`, a keyed digest, or else `session` says who asked. `answered`:
    it did not fail. `new`: some span of it came in since the last look.
    """

    tenant: str
    user: str
    session: str
    trace_id: str
    start_ns: int
    end_ns: int
    question: str
    answered: bool = True
    new: bool = True

    @property
    def who(self) -> tuple[str, str, str]:
        """Whose question it is; the user's wherever he asked it."""
        return self.tenant, self.user, "" if self.user else self.session


def again(asks: Iterable[Ask], within_ns: int, alike: float) -> Iterator[tuple[Ask, Ask]]:
    """Questions that were asked again after they were answered, each with the next one like it.

    Args:
        asks: by `who` and start.
        within_ns: the most from one start to the other.
        alike: from which share of common words on, 0 to 1.
    """
    for _, of in groupby(asks, lambda ask: ask.who):
        before: deque[Ask] = deque(maxlen=_RECENT)
        for ask in of:
            for earlier in reversed(before):
                if ask.start_ns - earlier.start_ns > within_ns:
                    break
                # What was sent beside it or while it was answered, as by who asks several times at once, is no retry.
                over = earlier.answered and earlier.end_ns <= ask.start_ns
                if over and (earlier.new or ask.new) and same(earlier.question, ask.question, alike):
                    yield earlier, ask
                    break
            before.append(ask)


def same(one: str, other: str, alike: float) -> bool:
    """Whether two texts ask the same."""
    left, right = _plain(one), _plain(other)
    if min(len(left), len(right)) < _LEAST_LETTERS:
        return False
    return left == right or (alike < 1 and similarity(left, right) >= alike)


def _plain(text: str) -> str:
    """Its words alone, in one form: no case, punctuation or spaces that differ."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
