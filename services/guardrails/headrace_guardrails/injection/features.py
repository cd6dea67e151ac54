"""What can be said of a text without a model: which orders it holds by their shape, whom it speaks to, how it is built.

The features are about form, not topic: what a text is about differs from one source to the next, how it gives orders to
a model does not.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from headrace_detectors import (
    ENCODED_KINDS,
    INSTRUCTION_KINDS,
    Action,
    Checker,
    Encoded,
    Instructions,
    Tricks,
    compile_checks,
)
from headrace_guardrails.injection import languages

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_SENTENCE = re.compile(r"[.!?\n]+")
_IMPERATIVE = re.compile(
    r"^\W*(?:please |now |then |just |and |instead,? |so |ok(?:ay)?,? )*(?:ignore|disregard|forget|write|say|print"
    r"|output|repeat|reveal|show|tell|act|pretend|answer|respond|reply|stop|begin|start|give|translate|do not|don't"
    r"|never"
    r"|always|send|call|execute|run|include|add|append|imagine|simulate|enter|enable|activate|confirm|complete"
    r"|finish|follow|obey|comply|explain|describe|create|generate|list|provide|summari[sz]e|recommend|forward|click)\b",
    re.I,
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_LEXICON: dict[str, frozenset[str]] = {
    "second": _words("you your yours yourself you're you'll you've"),
    "first": _words("i me my mine we our us i'm i'll i've"),
    "model": _words(
        "ai assistant chatbot chatgpt gpt llm model prompt system bot jailbreak dan openai claude instructions"
    ),
    "limits": _words(
        "rules restrictions guidelines policy policies filter filters ethics ethical moral morals unfiltered "
        "unrestricted illegal legality censorship limits uncensored disclaimers warnings moderation"
    ),
    "role": _words("character persona roleplay role act pretend simulate imagine hypothetical fictional stay"),
    "absolute": _words("always never must all any every only nothing anything everything regardless matter"),
    "secret": _words("password secret key token credential credentials confidential hidden code"),
    "question": _words("what why how when where which who whose does is are can could should"),
}
_OVERRIDES = _words("ignore disregard forget override bypass overrule neglect instead stop cancel")

NAMES = (
    *(f"instructions.{kind}" for kind in INSTRUCTION_KINDS),
    *(f"encoded.{kind}" for kind in ENCODED_KINDS),
    "tricks",
    *(f"share.{name}" for name in _LEXICON),
    "share.override",
    "any.override",
    "imperatives",
    "any.imperative",
    "question_end",
    "upper",
    "brackets",
    "quotes",
    "log_length",
    "model_and_limits",
    "second_and_limits",
    "override_and_model",
    *languages.NAMES,
)
"""The features, in the order of the vector."""


@lru_cache(1)
def _checker() -> Checker:
    return compile_checks(
        [
            Instructions(action=Action.FLAG, threshold=0.3),
            Encoded(action=Action.FLAG, threshold=0.3),
            Tricks(action=Action.FLAG),
        ]
    )


def features(text: str) -> list[float]:
    """The vector of a text, of `len(NAMES)` numbers of about the same size. Takes about 0.5 ms for 900 characters."""
    kinds = {(one.check, one.kind) for one in _checker().check(text).findings}
    words = [word.lower() for word in _WORDS.findall(text)]
    total = len(words) or 1
    shares = {name: sum(word in lexicon for word in words) for name, lexicon in _LEXICON.items()}
    overrides = sum(word in _OVERRIDES for word in words)
    sentences = [part for part in _SENTENCE.split(text) if part.strip()] or [""]
    imperatives = sum(_IMPERATIVE.match(part) is not None for part in sentences)
    letters = sum(char.isalpha() for char in text) or 1
    return [
        *(float(("instructions", kind) in kinds) for kind in INSTRUCTION_KINDS),
        *(float(("encoded", kind) in kinds) for kind in ENCODED_KINDS),
        float(any(check == "unicode" for check, _ in kinds)),
        *(min(1.0, 8 * count / total) for count in shares.values()),
        min(1.0, 8 * overrides / total),
        float(overrides > 0),
        imperatives / len(sentences),
        float(imperatives > 0),
        float(text.rstrip().endswith("?")),
        min(1.0, 3 * sum(char.isupper() for char in text) / letters),
        min(1.0, 20 * sum(char in "[]<>{}|#" for char in text) / (len(text) or 1)),
        min(1.0, 20 * sum(char in "\"'“”«»" for char in text) / (len(text) or 1)),
        min(1.0, math.log1p(total) / 6),
        float(shares["model"] > 0 and shares["limits"] > 0),
        float(shares["second"] > 0 and shares["limits"] > 0),
        float(overrides > 0 and shares["model"] > 0),
        *languages.ideas(text),
    ]
