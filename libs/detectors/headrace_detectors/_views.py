"""The texts that checks look at, each made from the original character by character.

- RAW: as it came.
- PLAIN: what a reader sees, as far as it is written in ASCII. Invisible characters are gone; full-width and
  mathematical letters, other scripts' digits, odd spaces and dashes are the plain ones.
- FOLDED: PLAIN without case, accents and look-alike letters; for words.

Each character maps on its own, whatever stands beside it. So a view of a text is the views of its pieces, one after
the other: that is what lets a stream see what a whole text would.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from itertools import chain, repeat


class View(Enum):
    """Which rendering of the text a pattern is written for."""

    RAW = "raw"
    PLAIN = "plain"
    FOLDED = "folded"


class Rendered:
    """A view of a text, and the way back.

    Attributes:
        text: the view.
    """

    __slots__ = ("_origins", "_source", "_table", "text")

    def __init__(self, text: str, source: str = "", table: _Table | None = None) -> None:
        self.text = text
        self._source = source
        self._table = table
        self._origins: list[int] | None = None

    def origin(self, index: int) -> int:
        """Index in the original of the view's character at `index`."""
        if self._table is None:
            return index
        if self._origins is None:
            widths = map(len, map(self._table.__getitem__, map(ord, self._source)))
            self._origins = list(chain.from_iterable(map(repeat, range(len(self._source)), widths)))
        return self._origins[index]


def render(text: str, view: View) -> Rendered:
    """`text` as `view` shows it."""
    if view is View.RAW:
        return Rendered(text)
    if text.isascii():
        # ASCII maps to itself, or to its own lower case.
        return Rendered(text.lower() if view is View.FOLDED else text)
    table = _PLAIN if view is View.PLAIN else _FOLDED
    rendered = text.translate(table)
    if all(len(table[ord(char)]) == 1 for char in set(text)):
        return Rendered(rendered)
    return Rendered(rendered, text, table)


def fold(words: str) -> str:
    """`words` as they look in the FOLDED view."""
    return render(words, View.FOLDED).text


def is_invisible(code_point: int) -> bool:
    """Whether a character shows nothing: zero width, direction marks, tags, variation selectors, fillers."""
    return any(low <= code_point <= high for low, high in _INVISIBLE)


_INVISIBLE = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x061C, 0x061C),  # arabic letter mark
    (0x115F, 0x1160),  # hangul fillers
    (0x17B4, 0x17B5),  # khmer inherent vowels
    (0x180B, 0x180F),  # mongolian selectors
    (0x200B, 0x200F),  # zero width space, joiners, direction marks
    (0x202A, 0x202E),  # direction embeddings and overrides
    (0x2060, 0x206F),  # word joiner, invisible operators, isolates
    (0x3164, 0x3164),  # hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFA0, 0xFFA0),  # half-width hangul filler
    (0xFFF9, 0xFFFB),  # interlinear annotation
    (0x1BCA0, 0x1BCA3),  # shorthand format controls
    (0x1D173, 0x1D17A),  # musical format controls
    (0xE0000, 0xE0FFF),  # tags, variation selectors supplement
)

_DASHES = frozenset("‐‑‒–—―−﹘﹣－")  # noqa: RUF001

_LOOKALIKES = {
    ord(shown): meant
    for shown, meant in zip(
        "авсԁеһіјӏкмнорԛѕтѵԝхуѡαβγεηικνορτυχωϲϳı",
        "abcdehijlkmhopqstvwxywabyenikvoptuxwcji",
        strict=True,
    )
}
"""Lower-case Cyrillic and Greek letters, and the Latin ones they pass for."""


_TABLE_ENTRIES = 1 << 16
"""More than any language needs; a text made of every character there is must not stay in memory."""


class _Table(dict[int, str]):
    """A translation table that fills itself with the characters that it meets."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        self._folded = folded

    def __missing__(self, code_point: int) -> str:
        shown = _plain(code_point)
        if self._folded:
            shown = _folded(shown)
        if len(self) >= _TABLE_ENTRIES:
            self.clear()
        self[code_point] = shown
        return shown


def _plain(code_point: int) -> str:
    char = chr(code_point)
    if code_point < 0x80:
        return char
    if is_invisible(code_point):
        return ""
    if char in _DASHES:
        return "-"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(char) == "Zs":
        return " "
    compatible = unicodedata.normalize("NFKC", char)
    return compatible if compatible.isascii() else char


def _folded(shown: str) -> str:
    letters = []
    for char in unicodedata.normalize("NFKD", shown.casefold()).casefold():
        code_point = ord(char)
        if 0x0300 <= code_point <= 0x036F or 0x20D0 <= code_point <= 0x20F0 or is_invisible(code_point):
            continue
        letters.append(_LOOKALIKES.get(code_point, char))
    return "".join(letters)


_PLAIN = _Table(folded=False)
_FOLDED = _Table(folded=True)
