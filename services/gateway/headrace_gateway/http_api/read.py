"""JSON bodies and query strings as typed structs, with errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from headrace_kit.errors import BadInput

T = TypeVar("T")
_AT = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`", re.DOTALL)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body that says nothing: `{}`."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body strictly.

    Raises:
        BadInput: not UTF-8, not JSON (the message has the byte), nested too deeply, or not of the decoder's type
            (`param` names the field).
    """
    if not body:
        raise BadInput("the body is empty: send a JSON object", code="invalid_json")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the body is not UTF-8: {_utf8_fault(body)}", code="invalid_json") from error
    except msgspec.DecodeError as error:
        if "byte" not in str(error):
            raise BadInput(f"the body is not valid JSON: it ends at byte {len(body)}", code="invalid_json") from error
        raise BadInput(f"the body is not valid JSON: {error}", code="invalid_json") from error
    except RecursionError as error:
        raise BadInput("the body is nested too deeply", code="invalid_json") from error


def decode_part(decoder: msgspec.json.Decoder[T], part: msgspec.Raw, where: str) -> T:
    """Decode a part of a body that was kept as it came. Raises BadInput; `param` begins with `where`."""
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), where) from error
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply", code="invalid_json", param=where) from error


def _utf8_fault(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"invalid byte at {error.start}"
    return "an invalid escape"


def _invalid(message: str, where: str = "") -> BadInput:
    """msgspec's message, with its path as OpenAI writes it: `messages[0].role`."""
    place = where
    if match := _AT.search(message):
        inner = match[1].replace("[...]", "")
        place = f"{where}.{inner}" if where and inner and not inner.startswith("[") else where + inner
        message = message[: match.start()]
    for pattern, code in ((_UNKNOWN, "unknown_parameter"), (_MISSING, "missing_required_parameter")):
        if found := pattern.search(message):
            place = f"{place}.{found[1]}" if place else found[1]
            place = place[:200]
            text = "unknown field" if code == "unknown_parameter" else "missing field"
            return BadInput(f"{text} {place!r}", code=code, param=place)
    return BadInput(f"{place or 'body'}: {message}", code="invalid_value", param=place or None)


def query(raw: str, known: frozenset[str]) -> Mapping[str, str]:
    """A query string's parameters; the last of a repeated one counts.

    Raises:
        BadInput: one that is not in `known` or holds a NUL character, or too many.
    """
    try:
        pairs = dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=64))
    except ValueError as error:
        raise BadInput("the query string has too many parameters") from error
    for name, value in pairs.items():
        if "\0" in value:
            raise BadInput(f"{name[:64]!r} holds a NUL character", param=name[:64])
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise BadInput(f"unknown query parameter {name[:64]!r}; known: {listed}", param=name[:64])
    return pairs


def whole_number(pairs: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A query parameter as a number between `low` and `high`. Raises BadInput."""
    value = pairs.get(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdecimal() or not low <= int(value[:20]) <= high:
        raise BadInput(f"{name} is a whole number from {low} to {high}", param=name)
    return int(value)


def flag(pairs: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A query parameter as `true` or `false`. Raises BadInput."""
    value = pairs.get(name)
    if value is None:
        return default
    if value not in ("true", "false", "1", "0"):
        raise BadInput(f"{name} is true or false", param=name)
    return value in ("true", "1")
