"""From a pattern to the pattern of everything that may still become a match of it.

A stream may release a text up to the first place where a match could begin that has not ended yet. `prefixes(p)` is a
pattern for all beginnings of the matches of `p`, the empty one and whole matches included: searched for at the very
end of the text so far, its leftmost match is that place. It is derived from the pattern, so no pattern, built in or
a user's, can forget to hold back.

With P(x) for "a beginning of x": P(ab) = P(a) | a P(b), P(a|b) = P(a) | P(b), P(a{m,n}) = a{0,n-1} P(a). Assertions
consume nothing: P(\\b) is empty, and where more text follows they keep their place.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_QUANTIFIER = re.compile(r"([*+?]|\{(\d+)(,?)(\d*)\})\??")
_ESCAPE = re.compile(r"\\(?:[pP](?:\{[^}]*\}|.)|x(?:\{[0-9A-Fa-f]*\}|[0-9A-Fa-f]{2})|0[0-7]{0,2}|[0-7]{2,3}|.)", re.S)
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)|\\.", re.S)
_GROUP = re.compile(r"\((?:\?(?:P?<[^>]*>|([imsU-]*)([:)])))?")
_ASSERTIONS = frozenset(("^", "$", r"\b", r"\B", r"\A", r"\z"))
_NOTHING = "(?:)"


class _Part(NamedTuple):
    """A piece of a pattern: as it was written, all its beginnings, and whether it consumes exactly one character."""

    source: str
    prefix: str
    single: bool = False


def prefixes(pattern: str) -> str:
    """A pattern for every beginning of every match of `pattern`.

    Args:
        pattern: RE2 syntax that RE2 has accepted already.

    Raises:
        ValueError: it uses `\\C`, a single byte, which has no place in a text.
    """
    return _Parser(_QUOTED.sub(_unquoted, pattern)).choice().prefix


def _unquoted(found: re.Match[str]) -> str:
    return found[0] if found[1] is None else re.escape(found[1])


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def choice(self) -> _Part:
        """Read up to the end of the enclosing group, or of the pattern."""
        options: list[_Part] = []
        flags: list[str] = []
        while True:
            options.append(self._sequence(flags))
            if not self._take("|"):
                break
        if len(options) == 1:
            return options[0]
        return _Part(_any_of([option.source for option in options]), _any_of([option.prefix for option in options]))

    def _sequence(self, flags: list[str]) -> _Part:
        """Read one alternative. Flags set in it hold on in the group's later ones, hence the shared list."""
        done: list[_Part] = []
        items: list[_Part] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            before = list(flags)
            item = self._item(flags)
            if item is not None:
                items.append(self._repeated(item))
            elif items:
                done.append(_flagged(before, _joined(items)))
                items = []
        if items:
            done.append(_flagged(flags, _joined(items)))
        return _joined(done)

    def _item(self, flags: list[str]) -> _Part | None:
        """Read one item; None if it only set flags."""
        char = self._pattern[self._at]
        if char == "(":
            return self._group(flags)
        if char == "[":
            return _single(self._bracketed())
        if char == "\\":
            return self._escaped()
        self._at += 1
        return _Part(char, _NOTHING) if char in _ASSERTIONS else _single(char)

    def _group(self, flags: list[str]) -> _Part | None:
        opened = _GROUP.match(self._pattern, self._at)
        if opened is None:
            raise ValueError(f"the group at character {self._at} is not supported")
        self._at = opened.end()
        if opened[2] == ")":
            flags.append(opened[1])
            return None
        inner = self.choice()
        self._take(")")
        return _flagged([opened[1] or ""], inner)

    def _escaped(self) -> _Part:
        found = _ESCAPE.match(self._pattern, self._at)
        if found is None or found[0] == r"\C":
            raise ValueError(r"`\C`, a single byte, is not supported")
        self._at = found.end()
        return _Part(found[0], _NOTHING) if found[0] in _ASSERTIONS else _single(found[0])

    def _bracketed(self) -> str:
        start = self._at
        self._at += 2 if self._pattern.startswith("[^", start) else 1
        if self._pattern.startswith("]", self._at):
            self._at += 1
        while not self._pattern.startswith("]", self._at):
            if self._pattern.startswith("[:", self._at):
                self._at = self._pattern.index(":]", self._at) + 2
            elif found := _ESCAPE.match(self._pattern, self._at):
                self._at = found.end()
            else:
                self._at += 1
        self._at += 1
        return self._pattern[start : self._at]

    def _repeated(self, item: _Part) -> _Part:
        while found := _QUANTIFIER.match(self._pattern, self._at):
            self._at = found.end()
            sign, low, comma, high = found.groups()
            if low is None:
                most = 1 if sign == "?" else None
            elif comma:
                most = int(high) if high else None
            else:
                most = int(low)
            item = _Part(f"(?:{item.source}){sign}", _repeated_prefix(item, most))
        return item

    def _take(self, char: str) -> bool:
        if self._pattern.startswith(char, self._at):
            self._at += 1
            return True
        return False


def _single(source: str) -> _Part:
    return _Part(source, f"(?:{source})?", single=True)


def _any_of(sources: list[str]) -> str:
    return f"(?:{'|'.join(sources)})"


def _flagged(flags: list[str], part: _Part) -> _Part:
    source, prefix, single = part
    for flag in reversed(flags):
        source, prefix = f"(?{flag}:{source})", f"(?{flag}:{prefix})"
    return _Part(source, prefix, single)


def _repeated_prefix(item: _Part, most: int | None) -> str:
    """Beginnings of up to `most` times `item` (None: any number)."""
    if most == 0:
        return _NOTHING
    if item.single:
        return f"(?:{item.source})" + ("*" if most is None else f"{{0,{most}}}")
    whole = "*" if most is None else f"{{0,{most - 1}}}"
    return f"(?:(?:{item.source}){whole}{item.prefix})"


def _joined(parts: list[_Part]) -> _Part:
    """One after the other. Halving keeps the nesting, which RE2 bounds, at the logarithm of their number."""
    if not parts:
        return _Part("", _NOTHING)
    if len(parts) == 1:
        return parts[0]
    first, second = _joined(parts[: len(parts) // 2]), _joined(parts[len(parts) // 2 :])
    return _Part(first.source + second.source, f"(?:{first.source}{second.prefix}|{first.prefix})")
