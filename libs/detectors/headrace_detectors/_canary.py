"""Canary tokens: words that stand in a prompt for nothing but to be seen where it leaks."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Sequence

from headrace_detectors._pattern import Pattern
from headrace_detectors._views import View, fold
from headrace_detectors.errors import BadCheck

_LEAST_CHARS = 8
_MOST = 1000


def canary(tokens: Sequence[str]) -> list[Pattern]:
    """Patterns of some tokens: as they are, spaced out, backwards, in base64, hexadecimal and ROT13.

    Raises:
        BadCheck: no tokens or too many, or one that is too short to be met by nothing else.
    """
    if not tokens or len(tokens) > _MOST:
        raise BadCheck(f"needs 1 to {_MOST} tokens", path="tokens")
    plain: list[str] = []
    encoded: list[str] = []
    for index, token in enumerate(tokens):
        if len(token) < _LEAST_CHARS or not token.isascii() or not token.isalnum():
            raise BadCheck(f"a token is {_LEAST_CHARS} or more of A-Z, a-z, 0-9", path=f"tokens[{index}]")
        folded = fold(token)
        for shown in (folded, folded[::-1], codecs.encode(folded, "rot13")):
            plain.append(r"[\s._-]{0,2}".join(shown))
        encoded.append(f"(?i:{token.encode().hex()})")
        for offset in range(3):
            # Wherever it stands in what was encoded, the middle of its base64 is one of three.
            whole = base64.b64encode(bytes(offset) + token.encode()).decode().rstrip("=")
            encoded.append(whole[(0, 2, 3)[offset] : len(whole) - 1].replace("+", "[+-]").replace("/", "[/_]"))
    return [
        Pattern("leak", "|".join(plain), View.FOLDED),
        Pattern("leak", "|".join(encoded)),
    ]
