"""Secrets: tokens with a known shape, private keys, and what stands behind words such as `password`."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log2

from headrace_detectors._pattern import Accepted, Candidate, Pattern

_SHAPES = {
    "headrace_key": r"\bhr_[A-Za-z0-9_-]{16,}",
    "aws_access_key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    "github_token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
    "gitlab_token": r"\bgl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_-]{20,}",
    "slack_token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "slack_webhook": r"\bhooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}",
    "openai_key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "google_api_key": r"\bAIza[A-Za-z0-9_-]{35}",
    "stripe_key": r"\b(?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9]{16,}",
    "huggingface_token": r"\bhf_[A-Za-z0-9]{30,}",
    "npm_token": r"\bnpm_[A-Za-z0-9]{30,}",
    "pypi_token": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "sendgrid_key": r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}",
}

TOKEN_SHAPES = tuple(_SHAPES.values())
"""The shapes of well-known tokens, for what looks into encoded texts."""

_BREAK = r'(?:\s|\\[nrt]|["\',+>|#*])'
_PRIVATE_KEY = (
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    # Headers of an encrypted key, its lines, and the last and shorter one.
    rf"(?:{_BREAK}*[A-Z][A-Za-z-]{{2,30}}: [A-Za-z0-9,.: -]*)*"
    rf"(?:{_BREAK}*[A-Za-z0-9+/=]{{16,}})*"
    rf"(?:(?:{_BREAK}*[A-Za-z0-9+/=]+)?{_BREAK}*-----END [A-Z0-9 ]{{0,40}}-----)?"
)

_URL_LOGIN = r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@]*:([^\s/@]{3,})@"

_NAMED = (
    r"(?i)(?:api[_ -]?key|access[_ -]?key|secret[_ -]?key|private[_ -]?key|secret|token|passwd|password|passphrase|pwd"
    r"|credentials?|authorization|bearer)"
    r"""["'`*]{0,3}\s{0,3}(?:is |:=|=>|[:=])?\s{0,3}["'`*]{0,3}(?:bearer |basic )?"""
    r"([A-Za-z0-9+/=_.~!@#$%^&?-]{8,})"
)
_PASSWORD_CLASSES = 3
_TOKEN_CHARS = 20
_TOKEN_MOST_CHARS = 256
_TOKEN_BITS_PER_CHAR = 3.3


def _url_password(candidate: Candidate) -> Accepted | None:
    # `${PASSWORD}`, `<password>` and the like stand for a secret, and are none.
    return None if candidate.value[0] in "$<{%*" else Accepted(0.9, len(candidate.value))


def _token(candidate: Candidate) -> Accepted | None:
    """A token has digits in it, or its case is drawn by lot; a long name that begins like one has neither."""
    value = candidate.value
    if any(char.isdigit() for char in value[3:]):
        return Accepted(0.95, len(value))
    letters = [char for char in value[4:] if char.isalpha()]
    changes = sum(one.isupper() != other.isupper() for one, other in pairwise(letters))
    return Accepted(0.95, len(value)) if 3 * changes > len(letters) else None


def _named(candidate: Candidate) -> Accepted | None:
    """What follows a word such as `token` is a secret when nobody would say it: long and mixed, or a password's mix."""
    value = candidate.value.rstrip(".!?=,") or candidate.value
    if len(value) > _TOKEN_MOST_CHARS:
        # Judged by its beginning and not looked into again: a chain of such words would cost its length squared.
        mixed = _bits_per_char(value[:_TOKEN_MOST_CHARS]) >= _TOKEN_BITS_PER_CHAR
        return Accepted(0.8 if mixed else 0.0, len(value))
    classes = sum(
        any(test(char) for char in value) for test in (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    )
    digits = sum(char.isdigit() for char in value)
    if len(value) >= _TOKEN_CHARS and digits >= 2 and _bits_per_char(value) >= _TOKEN_BITS_PER_CHAR:
        return Accepted(0.8, len(value))
    if classes > _PASSWORD_CLASSES or (classes == _PASSWORD_CLASSES and digits and not value[0].isdigit()):
        return Accepted(0.6, len(value))
    return None


def _bits_per_char(value: str) -> float:
    """Shannon's entropy of the characters of `value`."""
    return -sum(count / len(value) * log2(count / len(value)) for count in Counter(value).values())


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    **{kind: (Pattern(kind, shape, accept=_token),) for kind, shape in _SHAPES.items()},
    # Of one length, all capitals and no words: nothing else looks like it.
    "aws_access_key": (Pattern("aws_access_key", _SHAPES["aws_access_key"]),),
    "private_key": (Pattern("private_key", _PRIVATE_KEY),),
    "url_password": (Pattern("url_password", _URL_LOGIN, accept=_url_password, group=1),),
    "credential": (Pattern("credential", _NAMED, accept=_named, group=1),),
}
"""What finds each kind. Earlier kinds win where two find the same with equal confidence."""

SECRET_KINDS = tuple(PATTERNS)
"""Every kind of secret there is a pattern for."""
