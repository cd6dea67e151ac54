"""Payloads in disguise: base64, hexadecimal, percent signs, ROT13, letters as digits, spaced-out and reversed words.

What a disguise hides is decoded and held against the phrases of `_instructions`, and against tokens of well-known
shape. An encoded text that hides neither is no finding: pictures, hashes and identifiers are encoded too.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from headrace_detectors._instructions import PHRASES
from headrace_detectors._pattern import Accepted, Candidate, Pattern
from headrace_detectors._re import Regex
from headrace_detectors._secrets import TOKEN_SHAPES
from headrace_detectors._views import View, fold

_PRINTABLE = 0.85

_KEYWORDS = ("ignore", "disregard", "forget", "instructions", "previous", "override", "system prompt", "password")


@lru_cache(1)
def _suspicious() -> Regex:
    return Regex("|".join(f"(?:{source})" for source in PHRASES))


@lru_cache(1)
def _tokens() -> Regex:
    return Regex("|".join(f"(?:{source})" for source in TOKEN_SHAPES))


def _hides(decoded: str) -> float:
    """How sure a decoded text is a payload: 0 when it says nothing of the kind."""
    if not decoded or sum(char.isprintable() or char.isspace() for char in decoded) < _PRINTABLE * len(decoded):
        return 0.0
    folded = fold(decoded)
    if _suspicious().search(folded.encode(errors="replace")) or _tokens().search(decoded.encode(errors="replace")):
        return 0.9
    return 0.6 if sum(word in folded for word in _KEYWORDS) >= 2 else 0.0


def _decoding(decode: Callable[[str], str]) -> Callable[[Candidate], Accepted | None]:
    def accept(candidate: Candidate) -> Accepted | None:
        score = _hides(decode(candidate.value))
        # Nothing that begins within it is looked at again: it would be decoded once for each of its characters.
        return Accepted(score, len(candidate.value))

    return accept


def _from_base64(value: str) -> str:
    plain = value.replace("-", "+").replace("_", "/").rstrip("=")
    plain = "".join(plain.split())
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _from_hex(value: str) -> str:
    digits = "".join(char for char in value.replace("\\x", "").replace("0x", "") if char in "0123456789abcdefABCDEF")
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")


def _from_spaced(value: str) -> str:
    # Two or more blanks, or a slash, part words; a single sign only spreads letters.
    words = value.replace("/", "  ").replace(".", " ").replace("-", " ").replace("_", " ").split("  ")
    joined = " ".join("".join(word.split()) for word in words)
    return f"{joined} {''.join(value.split())}"


_ROT_WORDS = ("ignore", "disregard", "forget", "instructions", "system prompt", "previous", "reveal", "password")
_ROT13 = "|".join(codecs.encode(word, "rot13").replace(" ", r"\s") for word in _ROT_WORDS)
_ROT = rf"\b(?:{_ROT13})\b(?:[\s,.'a-z]{{1,80}}?\b(?:{_ROT13})\b){{1,3}}"

_LEET = {"a": "a4@", "e": "e3", "i": "i1!|", "o": "o0", "s": "s5$", "t": "t7+", "l": "l1|", "g": "g9"}


def _leet(word: str) -> str:
    classes = {
        char: "[" + "".join(f"\\x{ord(shown):02X}" for shown in _LEET[char]) + "]" for char in word if char in _LEET
    }
    return "".join(classes.get(char, char) for char in word)


def _any_leet(*words: str) -> str:
    return "(?:" + "|".join(map(_leet, words)) + ")"


_LEET_SOURCE = (
    r"(?:^|[^\p{L}\p{N}])("
    + _any_leet("ignore", "disregard", "forget", "override")
    + r"\s{1,4}[^\n]{0,40}?"
    + _any_leet("instructions", "rules", "prompt", "guidelines", "restrictions")
    + ")"
)


def _leeted(candidate: Candidate) -> Accepted | None:
    """Digits for letters; the same words written plainly are not in disguise."""
    value = candidate.value
    return Accepted(0.85, len(value)) if any(char in "013457@$|!+" for char in value) else None


_BACKWARDS = "|".join(word[::-1] for word in ("ignore", "disregard", "instructions", "previous", "prompt", "reveal"))
_REVERSED = rf"\b(?:{_BACKWARDS})\b[\s,.a-z]{{1,60}}?\b(?:{_BACKWARDS})\b"


def _certain(score: float) -> Callable[[Candidate], Accepted | None]:
    return lambda candidate: Accepted(score, len(candidate.value))


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "base64": (Pattern("base64", r"[A-Za-z0-9+/_-]{20,}={0,2}", accept=_decoding(_from_base64)),),
    "hex": (
        Pattern("hex", r"(?:\\x[0-9A-Fa-f]{2}){8,}", accept=_decoding(_from_hex)),
        Pattern("hex", r"\b(?:0x)?(?:[0-9A-Fa-f]{2}[ :]?){16,}\b", accept=_decoding(_from_hex)),
    ),
    "percent": (Pattern("percent", r"(?:%[0-9A-Fa-f]{2}[A-Za-z0-9_.~+-]{0,12}){6,}", accept=_decoding(unquote)),),
    "rot13": (Pattern("rot13", _ROT, View.FOLDED, _certain(0.85)),),
    "leet": (Pattern("leet", _LEET_SOURCE, View.FOLDED, _leeted, group=1),),
    "spaced": (Pattern("spaced", r"\b(?:[a-z][ ._/-]{1,3}){7,}[a-z]\b", View.FOLDED, _decoding(_from_spaced)),),
    "reversed": (Pattern("reversed", _REVERSED, View.FOLDED, _certain(0.8)),),
}
"""What finds each disguise."""

ENCODED_KINDS = tuple(PATTERNS)
"""Every disguise that is looked through."""
