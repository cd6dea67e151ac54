"""One text on its way through a checker: what may go on, what waits, what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_detectors._lane import Hit, Lane, LaneState
from headrace_detectors._language import WINDOW_CHARS, guess
from headrace_detectors.findings import Action, Extra, Finding, most_severe
from headrace_detectors.session import Session

_AFTER_LANES = 1_000_000
"""Findings of other checks stand behind those of the lanes, where both are as sure."""


class Watch(Protocol):
    """What is known of a whole text so far, and not of a place in it. Used by one stream."""

    @property
    def waits(self) -> bool:
        """Whether the last code point must wait: at the end of the text something may be found that is told of it."""

    def see(self, delta: str, *, final: bool) -> list[Finding]:
        """Take a piece; returns what is found. A finding is one code point long, and it is in this piece or ends where
        it begins."""


class Limit(Protocol):
    """What holds for whole texts."""

    def watch(self) -> Watch:
        """Begin to watch a text."""


@dataclass(frozen=True, slots=True)
class LengthLimit:
    """Most code points a text may have, and what happens to a longer one."""

    max_chars: int
    action: Action

    def watch(self) -> Watch:
        """See `Limit`."""
        return _LengthWatch(self)


@dataclass(slots=True)
class _LengthWatch:
    limit: LengthLimit
    chars: int = 0
    waits: bool = False

    def see(self, delta: str, *, final: bool) -> list[Finding]:
        """See `Watch`."""
        before, self.chars = self.chars, self.chars + len(delta)
        most = self.limit.max_chars
        if not before <= most < self.chars:
            return []
        return [Finding("length", "too_long", most, most + 1, 1.0, self.limit.action)]


@dataclass(frozen=True, slots=True)
class LanguageLimit:
    """Languages that a text may be in, and what happens to one in another; told `WINDOW_CHARS` at a time."""

    allow: frozenset[str]
    action: Action
    threshold: float

    def watch(self) -> Watch:
        """See `Limit`."""
        return _LanguageWatch(self)


@dataclass(slots=True)
class _LanguageWatch:
    limit: LanguageLimit
    window: str = ""
    seen: int = 0
    told: set[str] = field(default_factory=set)
    waits: bool = True

    def see(self, delta: str, *, final: bool) -> list[Finding]:
        """See `Watch`. Each language is told once, where the window ends that it was first seen in."""
        text = self.window + delta
        whole = len(text) - len(text) % WINDOW_CHARS
        found = []
        for start in range(0, whole, WINDOW_CHARS):
            found += self._judge(text[start : start + WINDOW_CHARS])
        self.window = text[whole:]
        if final and self.window:
            found += self._judge(self.window)
        return found

    def _judge(self, window: str) -> list[Finding]:
        self.seen += len(window)
        language, score = guess(window)
        if not language or language in self.limit.allow | self.told or score < self.limit.threshold:
            return []
        self.told.add(language)
        return [Finding("language", language, self.seen - 1, self.seen, round(score, 4), self.limit.action)]


class StreamChecker:
    """Judges a text that arrives in pieces; made by `Checker.stream`. Not thread-safe.

    Text is held back only where something may begin that has not ended yet, and never more than `HOLD_BYTES`.
    However the text is cut into pieces, what comes out is the same, and so are the findings.
    """

    __slots__ = ("_action", "_base", "_findings", "_finished", "_lanes", "_open", "_pending", "_session", "_watches")

    def __init__(self, lanes: Sequence[Lane], limits: Sequence[Limit], session: Session) -> None:
        self._lanes = [LaneState(lane) for lane in lanes]
        self._watches = [limit.watch() for limit in limits]
        self._session = session
        self._pending = ""
        self._base = 0
        self._open: list[Hit] = []
        self._findings: list[Finding] = []
        self._action = Action.ALLOW
        self._finished = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What has been found in the text that was released, by position; after a block, also what caused it."""
        return tuple(self._findings)

    @property
    def action(self) -> Action:
        """The most severe action so far."""
        return self._action

    @property
    def blocked(self) -> bool:
        """Whether a check withholds the text: nothing is released any more."""
        return self._action.withholds

    @property
    def held_chars(self) -> int:
        """Code points that have come in and may not go out yet."""
        return len(self._pending)

    def feed(self, delta: str) -> str:
        """Take the next piece; returns what may go out now, masked. Empty once blocked.

        Raises:
            RuntimeError: after `finish`.
        """
        return self._advance(delta, final=False)

    def finish(self, delta: str = "") -> str:
        """Take the last piece; returns what was held back. Empty once blocked.

        Raises:
            RuntimeError: after `finish`.
        """
        return self._advance(delta, final=True)

    def whole(self, text: str, extra: Sequence[Extra]) -> str:
        """Take a whole text together with what other checks found in it; returns what may go out.

        Raises:
            RuntimeError: something was fed before.
        """
        if self._base or self._pending:
            raise RuntimeError("findings of other checks are for whole texts")
        hits: list[Hit] = []
        for found in extra:
            one = found.finding
            identity = found.identity or text[one.start : one.end]
            hits.append(Hit(one, identity, removable=False, order=len(hits) + _AFTER_LANES))
        self._open = hits
        return self._advance(text, final=True)

    def _advance(self, delta: str, *, final: bool) -> str:
        if self._finished:
            raise RuntimeError("the stream has ended")
        self._finished = final
        if self.blocked:
            return ""
        self._pending += delta
        new, decided = self._search(delta, final=final)
        if any(hit.finding.action.withholds for hit in (*new, *self._open)):
            self._report(_reported(sorted(self._open + new, key=_position)))
            self._pending = ""
            self._open = []
            return ""
        self._open = sorted(self._open + new, key=_position)
        cut = self._base + decided
        for hit in reversed(self._open):
            if hit.finding.start < cut < hit.finding.end:
                cut = hit.finding.start
        ready = [hit for hit in self._open if hit.finding.start < cut]
        self._open = self._open[len(ready) :]
        return self._release(cut, ready)

    def _search(self, delta: str, *, final: bool) -> tuple[list[Hit], int]:
        """What is new in all lanes, and how many characters of what is pending are decided in all of them."""
        decided = len(self._pending)
        new: list[Hit] = []
        for lane in self._lanes:
            hits, of_lane = lane.search(self._pending, self._base, final=final)
            new += hits
            decided = min(decided, of_lane)
        for watch in self._watches:
            new += [Hit(found, "", removable=False, order=-1) for found in watch.see(delta, final=final)]
            if watch.waits and not final:
                decided = min(decided, max(0, len(self._pending) - 1))
        return new, decided

    def _release(self, cut: int, ready: list[Hit]) -> str:
        """Let the text up to `cut` go, with all that is masked in it."""
        size = cut - self._base
        text, self._pending = self._pending[:size], self._pending[size:]
        kept = _reported(ready)
        self._report(kept)
        names = [hit for hit in reversed(kept) if hit.finding.action is Action.MASK]
        pieces = []
        at = self._base
        for start, end in _masked(ready):
            pieces.append(text[at - self._base : start - self._base])
            while names and names[-1].finding.start < end:
                hit = names.pop()
                if not hit.removable:
                    one = hit.finding
                    shown = text[one.start - self._base : one.end - self._base]
                    pieces.append(self._session.placeholder(one.kind, hit.identity, shown))
            at = end
        pieces.append(text[at - self._base :])
        self._base = cut
        for lane in self._lanes:
            lane.release(text)
        return "".join(pieces)

    def _report(self, hits: list[Hit]) -> None:
        findings = [hit.finding for hit in hits]
        self._findings += findings
        self._action = most_severe(findings, self._action)


def _position(hit: Hit) -> tuple[int, int, int]:
    return hit.finding.start, hit.finding.end, hit.order


def _masked(hits: list[Hit]) -> list[tuple[int, int]]:
    """The stretches of text that masks cover, by position, those that overlap joined."""
    stretches: list[tuple[int, int]] = []
    for hit in hits:
        if hit.finding.action is not Action.MASK:
            continue
        start, end = hit.finding.start, hit.finding.end
        if stretches and start < stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
    return stretches


def _reported(hits: list[Hit]) -> list[Hit]:
    """Of hits that overlap and would do the same, the best one. By position."""
    kept: list[Hit] = []
    group: list[Hit] = []
    for action in sorted({hit.finding.action for hit in hits}, key=lambda action: action.severity):
        end = -1
        for hit in [hit for hit in hits if hit.finding.action is action]:
            if hit.finding.start >= end and group:
                kept += _best(group)
                group = []
            group.append(hit)
            end = max(end, hit.finding.end)
        kept += _best(group)
        group = []
    return sorted(kept, key=_position)


def _best(group: list[Hit]) -> list[Hit]:
    """Those of a group that do not overlap with a better one: surer, then longer, then of an earlier check."""
    ranked = sorted(
        group,
        key=lambda hit: (hit.removable, -hit.finding.score, hit.finding.start - hit.finding.end, hit.order),
    )
    kept: list[Hit] = []
    for hit in ranked:
        if all(hit.finding.end <= other.finding.start or other.finding.end <= hit.finding.start for other in kept):
            kept.append(hit)
    return kept
