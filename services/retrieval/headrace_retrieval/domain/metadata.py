"""A document's metadata, and the filter terms that make it searchable.

`{"lang": "en", "tags": ["a", "b"]}` has the terms `lang="en"`, `tags="a"`, `tags="b"`. A filter asks for one of some
terms per field. PostgreSQL and the lexical index compare these same terms, so both understand a filter alike.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from headrace_kit.errors import BadInput

MAX_BYTES = 65_536
MAX_TERM = 256
MAX_FILTER_FIELDS = 32
MAX_FILTER_VALUES = 256

Filter = tuple[tuple[str, ...], ...]
"""A passage matches when it has at least one term of each group."""


def clean(metadata: Mapping[str, Any], param: str) -> dict[str, Any]:
    """Metadata as it is stored: whole numbers as integers.

    Raises:
        BadInput: too large, a NUL character, or a number that JSON cannot hold.
    """
    cleaned = {_clean(key, param): _clean(value, f"{param}.{key}") for key, value in metadata.items()}
    encoded = json.dumps(cleaned, ensure_ascii=False)
    if len(encoded.encode()) > MAX_BYTES:
        raise BadInput(f"metadata is larger than {MAX_BYTES} bytes", param=param)
    return cleaned


def _clean(value: Any, param: str) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadInput("NaN and infinity are not JSON numbers", param=param)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, str) and "\0" in value:
        raise BadInput("metadata must not contain NUL characters", param=param)
    if isinstance(value, Mapping):
        return {_clean(key, param): _clean(item, param) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, param) for item in value]
    return value


def terms(metadata: Mapping[str, Any]) -> list[str]:
    """Filter terms of cleaned metadata. Lists give a term per element; objects inside cannot be filtered by."""
    found = set()
    for key, value in metadata.items():
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict | list):
                found.add(_term(key, item))
    return sorted(found)


def compile_filter(wanted: Mapping[str, Any]) -> Filter:
    """A filter's groups of terms.

    Raises:
        BadInput: too many fields, a value is an object, a list is empty or too long, or a number is not finite.
    """
    if len(wanted) > MAX_FILTER_FIELDS:
        raise BadInput(f"a filter has at most {MAX_FILTER_FIELDS} fields", param="filter")
    groups = []
    for key, value in wanted.items():
        param = f"filter.{_clean(key, 'filter')}"
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not values:
            raise BadInput("an empty list matches nothing; leave the field out instead", param=param)
        if len(values) > MAX_FILTER_VALUES:
            raise BadInput(f"a list may hold at most {MAX_FILTER_VALUES} values", param=param)
        if any(isinstance(item, Mapping | list | tuple) for item in values):
            raise BadInput("a filter compares strings, numbers, booleans and null, or a list of these", param=param)
        groups.append(tuple(sorted({_term(key, _clean(item, param)) for item in values})))
    return tuple(sorted(groups))


def _term(key: str, value: Any) -> str:
    term = f"{key}={json.dumps(value, ensure_ascii=False)}"
    if len(term) <= MAX_TERM:
        return term
    return "sha256:" + hashlib.sha256(term.encode()).hexdigest()
