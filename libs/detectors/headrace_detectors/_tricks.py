"""Characters that hide text or reorder what is shown, but for the places where a language or an emoji needs them."""

from __future__ import annotations

import unicodedata

from headrace_detectors._pattern import Accept, Accepted, Candidate, Pattern, always
from headrace_detectors._views import View

_JOINERS = "\u200c\u200d"
_FLAG = "\U0001f3f4"
_END_OF_FLAG = "\U000e007f"
_FLAG_CHARS = 7


def _zero_width(candidate: Candidate) -> Accepted | None:
    """Runs of characters without width, unless it is a joiner at its work, or the mark that opens a file."""
    if candidate.value == "\ufeff" and not candidate.before:
        return None
    if len(candidate.value) == 1 and candidate.value in _JOINERS and _joins(candidate.before, candidate.after):
        return None
    return Accepted(1.0, len(candidate.value))


def _joins(before: str, after: str) -> bool:
    """Whether a joiner between these two changes how they look: emoji, and scripts whose letters connect."""
    return bool(before and after) and all(
        unicodedata.category(char) in {"So", "Sk", "Mn", "Mc", "Cf"}
        or (unicodedata.category(char) == "Lo" and not 0x3000 <= ord(char) <= 0xD7FF)
        for char in (before, after)
    )


def _tag(candidate: Candidate) -> Accepted | None:
    is_flag = candidate.before == _FLAG and candidate.value.endswith(_END_OF_FLAG)
    # Accepted in either case, or the rest of a flag's tags would be looked at by themselves.
    return Accepted(0.0 if is_flag and len(candidate.value) <= _FLAG_CHARS else 1.0, len(candidate.value))


def _trick(kind: str, characters: str, accept: Accept = always) -> tuple[Pattern, ...]:
    return (Pattern(kind, characters, View.RAW, accept, removable=True),)


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "zero_width": _trick(
        "zero_width",
        r"[\x{034F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180E}\x{200B}-\x{200D}\x{2060}-\x{2064}\x{206A}-\x{206F}"
        r"\x{3164}\x{FEFF}\x{FFA0}\x{FFF9}-\x{FFFB}\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}]+",
        _zero_width,
    ),
    "bidi": _trick("bidi", r"[\x{202A}-\x{202E}\x{2066}-\x{2069}]+"),
    "tag": _trick("tag", r"[\x{E0000}-\x{E007F}]+", _tag),
    # One selector chooses a glyph. Several in a row carry bytes.
    "variation": _trick("variation", r"[\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]{2,}"),
    "control": _trick("control", r"[\x00-\x08\x0B\x0E-\x1F\x7F\x{9B}]+"),
}

UNICODE_KINDS = tuple(PATTERNS)
"""Every kind of trick there is a pattern for."""
