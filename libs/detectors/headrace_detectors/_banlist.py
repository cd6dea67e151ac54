"""Words and phrases as one pattern over the folded view."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from headrace_detectors._pattern import Accepted, Candidate, Pattern
from headrace_detectors._views import View, fold
from headrace_detectors.errors import BadCheck

_WORD_CHARS = 200
_WORDS = 20_000
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts, as the names of their characters begin, that put no space between words."""

_NO_LETTER = r"[^\p{L}\p{N}\p{M}_]"


def ban_list(words: Sequence[str], name: str) -> tuple[Pattern, ...]:
    """The patterns of any of `words`.

    Words are whole: nothing that belongs to a word stands on either side, unless their script puts no spaces.
    Between the words of a phrase any white space goes.

    Raises:
        BadCheck: no words or too many, one that is too long or has no letter and no digit.
    """
    if not words:
        raise BadCheck("needs at least one word", path="words")
    if len(words) > _WORDS:
        raise BadCheck(f"holds {len(words)} words; at most {_WORDS} can be searched for", path="words")
    by_end: dict[bool, list[str]] = {True: [], False: []}
    for index, word in enumerate(words):
        folded = " ".join(fold(word).split())
        if not any(char.isalnum() for char in folded):
            raise BadCheck(f"{word!r} has no letter and no digit", path=f"words[{index}]")
        if len(folded) > _WORD_CHARS:
            raise BadCheck(f"is longer than {_WORD_CHARS} characters", path=f"words[{index}]")
        by_end[_bounded(folded[-1])].append(folded)
    patterns = []
    for bounded, ending in by_end.items():
        if ending:
            # The longest first, so that a phrase wins over the word that it begins with.
            choice = "|".join(_source(word) for word in sorted(set(ending), key=lambda word: (-len(word), word)))
            source = f"({choice})(?:{_NO_LETTER}|\\z)" if bounded else f"({choice})"
            patterns.append(Pattern(name, source, View.FOLDED, _whole_word, group=1))
    return tuple(patterns)


def _source(word: str) -> str:
    return r"\s{1,8}".join(_escape(part) for part in word.split(" "))


def _escape(text: str) -> str:
    return "".join(char if char.isalnum() or ord(char) >= 0x80 else f"\\x{{{ord(char):X}}}" for char in text)


def _bounded(char: str) -> bool:
    """Whether a word that begins or ends with `char` must not go on there."""
    return char.isalnum() and not unicodedata.name(char, "").startswith(_UNSPACED)


def _belongs_to_word(char: str) -> bool:
    return char == "_" or unicodedata.category(char)[0] in "LNM"


def _whole_word(candidate: Candidate) -> Accepted | None:
    if candidate.before and _bounded(candidate.value[0]) and _belongs_to_word(candidate.before):
        return None
    return Accepted(1.0, len(candidate.value))
