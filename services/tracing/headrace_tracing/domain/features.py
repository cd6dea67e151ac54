"""What of an answered request is watched for drift, read off its content once, when it is stored.

All of it is cheap and asks no model: guesses that are wrong now and then, but wrong in the same way every day.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from typing import Any

from msgspec import Struct

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, Turn

TOPICS = 32
_READ = 600
_ANSWER = 240
_LEAST_WORD = 4
_LETTERS = 80
_WORD = re.compile(r"[^\W\d_]+")
# What redaction puts into texts, and names in capitals with it.
_TOKEN = re.compile(r"\[[A-Z][A-Z_]*(?:_[a-z0-9]+)?\]")
_FILTERED = "content_filter"
_SCRIPTS = (
    ("HIRAGANA", "ja"), ("KATAKANA", "ja"), ("HANGUL", "ko"), ("CJK", "zh"), ("CYRILLIC", "cyrillic"), ("GREEK", "el"),
    ("ARABIC", "arabic"), ("HEBREW", "he"), ("DEVANAGARI", "devanagari"), ("THAI", "th"),
)  # fmt: skip
"""First words of the Unicode names of letters. A script that many languages share stands for all of them."""

_COMMON = {
    "en": "the of and to in is what how are that it for you do does can i my with on this not",
    "de": "der die das und ist nicht wie was ich wir ein eine zu den mit von auf für kann wird sind",
    "fr": "le la les de des et est que qui pas une un pour dans je nous quel quelle comment du au sur",
    "es": "el la los las de y es que no una un para en con como cuál qué por mi se del cómo",
    "it": "il lo gli di e è che non una un per con come del della quale cosa sono mi si nel",
    "pt": "o os as de e é que não uma um para em com como qual do da por meu se no na",
    "nl": "de het een en is niet wat hoe ik van voor met op dat kan zijn wij mijn naar er",
}
_LANGUAGES = {name: frozenset(words.split()) for name, words in _COMMON.items()}
_REFUSALS = re.compile(
    r"\bi(?:'m| am) (?:(?:very |so )?sorry,? (?:but )?i (?:can|am (?:not able|unable)|do not|don't|won't)"
    r"|(?:not able|unable|not allowed) to)"
    r"|\bi (?:cannot|can't|can not|won't) (?:help|assist|answer|provide|comply|do that|discuss|share|find)"
    r"|\bas an ai\b"
    r"|\b(?:tut mir leid,? (?:aber )?(?:ich|das) kann"
    r"|ich kann (?:ihnen |dir )?(?:dabei |damit |das )?(?:leider )?nicht)"
    r"|\bje (?:suis désolée?,? (?:mais )?je ne|ne peux pas|ne suis pas en mesure)"
    r"|\b(?:lo siento,? (?:pero )?no|no puedo (?:ayudar|responder|proporcionar))"
    r"|\b(?:mi dispiace,? (?:ma )?non|non posso (?:aiutar|rispondere|fornire))"
    r"|\b(?:desculpe,? (?:mas )?(?:eu )?não|não posso (?:ajudar|responder|fornecer))"
    r"|\b(?:het spijt me,? (?:maar )?ik|ik kan (?:u |je )?(?:daar |hier )?(?:helaas )?niet)",
    re.IGNORECASE,
)


class Features(Struct, frozen=True):
    """What is watched of one request. None and the empty string: not known, for example because no content is kept.

    Attributes:
        input_chars: length of the last thing that the user said.
        language: a guess at its language, or the script that it is written in; `other` where nothing is recognised.
        topic: 0 to `TOPICS` - 1: a class that one of its words, picked by hash, falls into. Topics that come or go move
            the shares of the classes; a class by itself means nothing.
        refused: 1 where the answer declines, by its first words or the reason for its end; 0 where it does not.
        groundedness: 0 to 1, how far the answer is grounded in its passages.
        retrieval_score: the best score among its passages.
    """

    input_chars: int | None = None
    language: str = ""
    topic: int | None = None
    refused: int | None = None
    groundedness: float | None = None
    retrieval_score: float | None = None


NOTHING = Features()


def features(content: Content | None, attributes: Any) -> Features:
    """What is watched of a request, by its content as it is stored and its span's attributes."""
    grounded = attributes.get(genai.GROUNDEDNESS)
    grounded = float(grounded) if isinstance(grounded, int | float) and 0 <= grounded <= 1 else None
    if content is None:
        return NOTHING if grounded is None else Features(groundedness=grounded)
    said = next((turn.text for turn in reversed(content.input) if turn.role == "user" and turn.text), "")
    words = _words(said)
    scores = [passage.score for passage in content.passages if passage.score is not None]
    return Features(
        input_chars=len(said) if said else None,
        language=_language(said, words) if said else "",
        topic=_topic(words),
        refused=_refused(content.output, attributes),
        groundedness=grounded,
        retrieval_score=max(scores, default=None),
    )


def content_words(text: str) -> list[str]:
    """The words of a text that may say what it is about, in small letters: long ones, none of redaction's."""
    return [word for word in _words(text) if len(word) >= _LEAST_WORD]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_TOKEN.sub(" ", text[:_READ]))]


def _language(text: str, words: list[str]) -> str:
    letters = list(itertools.islice(filter(str.isalpha, text[:_READ]), _LETTERS))
    scripts: dict[str, int] = {}
    for letter in letters:
        if letter > "\u024f":
            name = unicodedata.name(letter, "")
            found = next((script for start, script in _SCRIPTS if name.startswith(start)), "other")
            scripts[found] = scripts.get(found, 0) + 1
    # Japanese has Chinese characters too, and nobody else has its syllables.
    if scripts.get("ja"):
        scripts["ja"] += scripts.pop("zh", 0)
    if scripts and sum(scripts.values()) * 2 > len(letters):
        return max(scripts, key=lambda script: (scripts[script], script))
    hits = {name: sum(word in common for word in words) for name, common in _LANGUAGES.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "other"


def _topic(words: list[str]) -> int | None:
    # A word of content is picked by its hash: of two questions with the same words the same one.
    hashes = [zlib.crc32(word.encode()) for word in set(words) if len(word) >= _LEAST_WORD]
    if not hashes:
        return None
    # The least of many is near 0 whatever it is, so its class comes of other bits.
    return min(hashes) * 2_654_435_761 % 2**32 >> 27


def _refused(output: tuple[Turn, ...], attributes: Any) -> int | None:
    reasons = attributes.get(genai.RESPONSE_FINISH_REASONS)
    if isinstance(reasons, list | tuple) and _FILTERED in reasons:
        return 1
    if not output or not output[0].text:
        return None
    return int(_REFUSALS.search(output[0].text[:_ANSWER].replace("\u2019", "'")) is not None)
