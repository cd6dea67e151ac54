"""The checks of a policy, as plain typed values, and how they are read from a config section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar

from headrace_detectors._code import CODE_KINDS
from headrace_detectors._instructions import INSTRUCTION_KINDS
from headrace_detectors._language import LANGUAGES
from headrace_detectors._payloads import ENCODED_KINDS
from headrace_detectors._pii import PII_KINDS
from headrace_detectors._secrets import SECRET_KINDS
from headrace_detectors._tricks import UNICODE_KINDS
from headrace_detectors._urls import DEFAULT_URL_KINDS
from headrace_detectors.errors import BadCheck
from headrace_detectors.findings import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Pii:
    """Personal data.

    Attributes:
        kinds: which of `PII_KINDS`.
        action: what to do with it.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "pii"
    kinds: tuple[str, ...] = PII_KINDS
    action: Action = Action.MASK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Keys, tokens, private keys and passwords.

    Attributes:
        kinds: which of `SECRET_KINDS`.
        action: what to do with them.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "secrets"
    kinds: tuple[str, ...] = SECRET_KINDS
    action: Action = Action.MASK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BanList:
    """Words and phrases: whole words, whatever their case, accents, look-alike letters or hidden characters.

    Attributes:
        words: at least one, each with a letter or digit in it.
        name: kind of the findings.
        action: what to do with them.
    """

    check: ClassVar[str] = "ban_list"
    words: tuple[str, ...]
    name: str = "banned"
    action: Action = Action.BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Regular expressions in RE2's syntax, searched for in the text without its Unicode tricks.

    Attributes:
        patterns: name (the kind of the findings) to expression. None may match the empty text.
        action: what to do with what matches.
    """

    check: ClassVar[str] = "regex"
    patterns: Mapping[str, str]
    action: Action = Action.BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Tricks:
    """Characters that hide or reorder text. A mask removes them.

    Attributes:
        kinds: which of `UNICODE_KINDS`.
        action: what to do with them.
    """

    check: ClassVar[str] = "unicode"
    kinds: tuple[str, ...] = UNICODE_KINDS
    action: Action = Action.MASK


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A text that is too long. It cannot be masked.

    Attributes:
        max_chars: most code points, 1 or more.
        action: anything but `mask`.
    """

    check: ClassVar[str] = "length"
    max_chars: int
    action: Action = Action.BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A text in another language than those that are allowed. It cannot be masked.

    Attributes:
        allow: codes of `LANGUAGES`, at least one. Text whose language cannot be told passes.
        action: anything but `mask`.
        threshold: least sureness, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "language"
    allow: tuple[str, ...]
    action: Action = Action.BLOCK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Payloads in disguise (base64, ROT13, leetspeak, ...): decoded, and held against orders and tokens.

    Attributes:
        kinds: which of `ENCODED_KINDS`.
        action: what to do with them.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "encoded"
    kinds: tuple[str, ...] = ENCODED_KINDS
    action: Action = Action.BLOCK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Orders to a model in what should be data, by their shape.

    Attributes:
        kinds: which of `INSTRUCTION_KINDS`.
        action: what to do with them.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "instructions"
    kinds: tuple[str, ...] = INSTRUCTION_KINDS
    action: Action = Action.BLOCK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """SQL, shell and HTML that do harm where they are run or shown.

    Attributes:
        kinds: which of `CODE_KINDS`.
        action: what to do with them.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "code"
    kinds: tuple[str, ...] = CODE_KINDS
    action: Action = Action.FLAG
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Addresses that carry data out: pictures that load by themselves, links that hold data.

    Attributes:
        kinds: which of `URL_KINDS`.
        allow_hosts: hosts that are trusted; `*.example.org` stands for all below `example.org`.
        action: what to do with them.
        threshold: least score, 0 to 1, at which a finding counts.
    """

    check: ClassVar[str] = "urls"
    kinds: tuple[str, ...] = DEFAULT_URL_KINDS
    allow_hosts: tuple[str, ...] = ()
    action: Action = Action.MASK
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Words that stand in a prompt for nothing but to be seen where it leaks, in any of the usual encodings.

    Attributes:
        tokens: each 8 or more ASCII letters and digits.
        action: what to do with them.
    """

    check: ClassVar[str] = "canary"
    tokens: tuple[str, ...]
    action: Action = Action.BLOCK


CheckSpec = (
    Pii | Secrets | BanList | Patterns | Tricks | Length | Language | Encoded | Instructions | Code | Urls | Canary
)

_SPECS: tuple[type[CheckSpec], ...] = (
    Pii,
    Secrets,
    BanList,
    Patterns,
    Tricks,
    Length,
    Language,
    Encoded,
    Instructions,
    Code,
    Urls,
    Canary,
)

CHECKS: Mapping[str, type[CheckSpec]] = MappingProxyType({spec.check: spec for spec in _SPECS})
"""Every check by its name in a config."""


def read_spec(settings: Mapping[str, Any]) -> CheckSpec:
    """A check from its config section, for example `{"check": "pii", "kinds": ["email"], "action": "mask"}`.

    Raises:
        BadCheck: an unknown check or setting (the nearest is named), a setting that is missing or of the wrong type.
    """
    name = settings.get("check")
    if not isinstance(name, str) or name not in CHECKS:
        raise BadCheck(f"no such check: {name!r}{nearest(str(name), CHECKS)}", path="check")
    kind = CHECKS[name]
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "check":
            continue
        if key not in known:
            raise BadCheck(f"`{name}` has no such setting{nearest(key, known)}", path=key)
        try:
            values[key] = _READERS[key](value)
        except (TypeError, ValueError) as exc:
            raise BadCheck(str(exc), path=key) from exc
    for field in known.values():
        if field.default is MISSING and field.name not in values:
            raise BadCheck(f"`{name}` needs it", path=field.name)
    return kind(**values)


def nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """A hint for a misspelt name: the nearest known one, else all of them."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(sorted(known))}"


_ACTIONS = tuple(action.value for action in Action if action is not Action.ALLOW)


def _action(value: object) -> Action:
    if not isinstance(value, str) or value not in _ACTIONS:
        raise ValueError(f"no such action: {value!r}; there are {', '.join(_ACTIONS)}")
    return Action(value)


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return tuple(value)


def _languages(value: object) -> tuple[str, ...]:
    codes = _strings(value)
    if not codes:
        raise ValueError("needs at least one language")
    for code in codes:
        if code not in LANGUAGES:
            raise ValueError(f"no language that can be told: {code!r}{nearest(code, LANGUAGES)}")
    return codes


def _named_strings(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise ValueError("must map names to strings")
    return MappingProxyType(dict(value))


def _string(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a string that is not empty")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a whole number, 1 or more")
    return value


_READERS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "kinds": _strings,
        "words": _strings,
        "tokens": _strings,
        "allow_hosts": _strings,
        "allow": _languages,
        "patterns": _named_strings,
        "name": _string,
        "threshold": _number,
        "max_chars": _count,
        "action": _action,
    }
)
