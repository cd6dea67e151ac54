"""RE2 behind a small typed face.

RE2 is linear in the text whatever the pattern. Everything here works on UTF-8 bytes: the package's own handling of
`str` encodes the text anew at every call.
"""

from __future__ import annotations

import re2

Span = tuple[int, int]

_MAX_MEM_BYTES = 64 << 20
"""An upper bound for the automata of one pattern, which are built as they are needed; RE2 turns slower beyond it."""


class BadPattern(ValueError):
    """RE2 refuses the pattern."""


class Regex:
    """A compiled pattern. Safe to use from several threads.

    Args:
        pattern: RE2 syntax.
        capture: whether groups are to be reported; without, matching is faster.

    Raises:
        BadPattern: it does not compile; the message says why.
    """

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str, *, capture: bool = False) -> None:
        options = re2.Options()
        options.max_mem = _MAX_MEM_BYTES
        options.log_errors = False
        options.never_capture = not capture
        try:
            self._compiled = re2.compile(pattern, options)
        except re2.error as exc:
            reason = exc.args[0] if exc.args else "cannot be compiled"
            raise BadPattern(reason.decode() if isinstance(reason, bytes) else str(reason)) from exc

    def search(
        self, data: bytes, pos: int = 0, endpos: int | None = None, *, group: int = 0
    ) -> tuple[Span, Span] | None:
        """The first match that starts at `pos` or later and ends at `endpos` at most: its span and that of `group`.

        What lies before `pos` and after `endpos` still counts for `\\b`, `^` and `$`.
        """
        return _spans(self._compiled.search(data, pos, endpos), group)

    def match(self, data: bytes, pos: int, endpos: int, *, group: int = 0) -> tuple[Span, Span] | None:
        """The match that starts at `pos` and ends at `endpos` at most; otherwise like `search`."""
        return _spans(self._compiled.match(data, pos, endpos), group)


def _spans(found: object, group: int) -> tuple[Span, Span] | None:
    if found is None:
        return None
    whole: Span = found.span(0)  # type: ignore[attr-defined]
    return whole, (found.span(group) if group else whole)  # type: ignore[attr-defined]
