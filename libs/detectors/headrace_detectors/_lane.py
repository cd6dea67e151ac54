"""One view of a text, searched for all the patterns that are written for it.

How a lane decides, whole text or stream: it looks for each pattern from left to right, going on after what it
accepted, or one character further after what it refused. In a stream it may decide about a place only when nothing
that follows could change what starts there. That holds up to the leftmost place that reads, up to the end of the
text so far, like the beginning of a match (`prefixes`); it also holds for places that lie more than `HOLD_BYTES` back,
because a match is cut there. So every decision is the one that the whole text would have led to.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace_detectors._pattern import Candidate, Rule
from headrace_detectors._prefixes import prefixes
from headrace_detectors._re import Regex, Span
from headrace_detectors._views import Rendered, View, render
from headrace_detectors.findings import Finding

HOLD_BYTES = 8192
"""The longest match, in UTF-8 bytes of the view: a longer one is found as pieces of this length. It bounds what a
stream holds back. The longest private key in common use (RSA, 8192 bits) takes 6,400."""

_SMALL_STEP_BYTES = 256

_CONTEXT_BYTES = 8
"""Bytes that must be there after a cut match: one character, and what is left of the one that the cut fell into."""


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """A finding and what its mask needs. Lives only while a text is being checked."""

    finding: Finding
    identity: str
    removable: bool
    order: int


@dataclass(frozen=True, slots=True)
class _Searcher:
    rule: Rule
    regex: Regex
    order: int


class Lane:
    """The patterns of one view, compiled. Holds no text: `LaneState` does."""

    def __init__(self, view: View, rules: list[tuple[int, Rule]]) -> None:
        self.view = view
        self.searchers = tuple(
            _Searcher(rule, Regex(rule.pattern.regex, capture=rule.pattern.group > 0), order) for order, rule in rules
        )
        sources = dict.fromkeys(rule.pattern.regex for _, rule in rules)
        self.anything = Regex("|".join(f"(?:{source})" for source in sources))
        self.unfinished = Regex("(?:" + "|".join(prefixes(source) for source in sources) + r")\z")


class LaneState:
    """How far one text has been searched in one lane."""

    __slots__ = ("_context", "_decided", "_lane", "_resume")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._context = ""
        # Both in characters of the view, from the first that has not been released.
        self._decided = 0
        self._resume = [0] * len(lane.searchers)

    def search(self, pending: str, base: int, *, final: bool) -> tuple[list[Hit], int]:
        """Search what is not released yet.

        Args:
            pending: the original text from the first character that has not been released.
            base: index of that character in the whole text.
            final: nothing follows.

        Returns:
            What was found and not reported before, and how many characters of `pending` are decided.
        """
        rendered = render(pending, self._lane.view)
        buffer = _Buffer(self._context + rendered.text)
        context = len(self._context)
        decided = buffer.chars if final else self._decidable(buffer, context)
        decided = max(decided, self._decided + context)
        first = self._lane.anything.search(buffer.data, buffer.byte(self._decided + context))
        nothing = first is None or first[0][0] >= buffer.byte(decided)
        hits = [] if nothing else self._hits(buffer, rendered, context, decided, base)
        self._decided = decided - context
        if self._decided >= len(rendered.text):
            return hits, len(pending)
        return hits, rendered.origin(self._decided)

    def _hits(self, buffer: _Buffer, rendered: Rendered, context: int, decided: int, base: int) -> list[Hit]:
        """What each pattern finds before `decided`, from where it was decided before."""
        hits = []
        for at, searcher in enumerate(self._lane.searchers):
            start = max(self._resume[at], self._decided) + context
            for span, score, value in _matches(searcher, buffer, start, decided):
                begin, end = (position - context for position in span)
                self._resume[at] = end
                if score <= 0 or score < searcher.rule.threshold:
                    continue
                pattern = searcher.rule.pattern
                finding = Finding(
                    check=searcher.rule.check,
                    kind=pattern.kind,
                    start=base + rendered.origin(begin),
                    end=base + rendered.origin(end - 1) + 1,
                    score=score,
                    action=searcher.rule.action,
                )
                hits.append(Hit(finding, pattern.identity(value), pattern.removable, searcher.order))
        return hits

    def release(self, released: str) -> None:
        """Forget the first characters of the pending text, all but what may stand beside the next match."""
        gone = render(released, self._lane.view).text
        if gone:
            self._context = gone[-1]
            self._decided = max(0, self._decided - len(gone))
            if any(self._resume):
                self._resume = [max(0, position - len(gone)) for position in self._resume]

    def _decidable(self, buffer: _Buffer, context: int) -> int:
        """Index of the first character at which a match could still begin or change."""
        start = buffer.byte(context)
        found = self._lane.unfinished.search(buffer.data, start)
        unfinished = found[0][0] if found else len(buffer.data)
        return buffer.char(max(unfinished, len(buffer.data) - HOLD_BYTES - _CONTEXT_BYTES))


class _Buffer:
    """A text and its UTF-8 bytes, with the way from one's positions to the other's."""

    __slots__ = ("_ascii", "chars", "data", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.chars = len(text)
        # A lone surrogate is no text; it turns into `?`, one character as it was.
        self.data = text.encode(errors="replace")
        self._ascii = len(self.data) == self.chars

    def byte(self, char: int) -> int:
        return char if self._ascii else len(self.text[:char].encode(errors="replace"))

    def char(self, byte: int) -> int:
        """The character at `byte`, or the one that `byte` lies in."""
        if self._ascii:
            return max(0, min(byte, self.chars))
        return len(self.data[: max(0, byte)].decode(errors="ignore"))


def _matches(searcher: _Searcher, buffer: _Buffer, start: int, decided: int) -> list[tuple[Span, float, str]]:
    """Accepted matches from `start` on that begin before `decided`; all positions in characters."""
    found = []
    pattern = searcher.rule.pattern
    data = buffer.data
    at = buffer.byte(start)
    stop = buffer.byte(decided)
    # Bytes and characters up to here, so that each conversion only looks at what lies between.
    known_byte, known_char = at, start
    while at < stop:
        match = _next(searcher, data, at, stop)
        if match is None:
            break
        begin = match[0][0]
        known_char += len(data[known_byte:begin].decode(errors="ignore"))
        known_byte = begin
        low, high = match[1]
        first = known_char + len(data[begin:low].decode(errors="ignore"))
        value = data[low:high].decode(errors="ignore")
        last = first + len(value)
        candidate = Candidate(value, buffer.text[first - 1 : first] if first else "", buffer.text[last : last + 1])
        accepted = pattern.accept(candidate) if value else None
        if accepted is None or accepted.length == 0:
            at = begin + 1
            continue
        end = first + accepted.length
        found.append(((first, end), accepted.score, value[: accepted.length]))
        at = low + len(value[: accepted.length].encode(errors="replace"))
    return found


def _next(searcher: _Searcher, data: bytes, at: int, stop: int) -> tuple[Span, Span] | None:
    """The first match that begins in [at, stop) when matches may not be longer than `HOLD_BYTES`.

    It looks ahead no further than a match may reach, or many starts with a far end would each cost the whole text.
    """
    regex, group = searcher.regex, searcher.rule.pattern.group
    step = HOLD_BYTES
    while at < stop:
        found = regex.search(data, at, at + step + HOLD_BYTES, group=group)
        if found is None or found[0][0] >= at + step:
            at += step
            continue
        begin, end = found[0]
        if begin >= stop:
            return None
        if end - begin <= HOLD_BYTES:
            return found
        if cut := regex.match(data, begin, begin + HOLD_BYTES, group=group):
            return cut
        # What ends just beyond the reach of one start is likely beyond that of the next ones: go on in small steps.
        at, step = begin + 1, _SMALL_STEP_BYTES
    return None
