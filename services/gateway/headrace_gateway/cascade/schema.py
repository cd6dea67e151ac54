"""Whether a text is JSON of a schema. Both come from strangers: nothing is fetched, and the work is bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import re2
import referencing
from jsonschema.validators import extend  # type: ignore[import-untyped]

_REFERENCES = 5_000
"""References that are followed in one check: schemas that refer to themselves twice would need 2^depth."""
_BASE = jsonschema.Draft202012Validator
_NOTHING: referencing.Registry[Any] = referencing.Registry()
"""Knows no other document, and fetches none."""


class _TooMuch(Exception):
    """The schema asks for more work than is done."""


def conforms(text: str, schema_json: str) -> bool:
    """Whether a text is JSON that a schema allows.

    Regular expressions are RE2's; one that RE2 does not know is not looked at, nor are `patternProperties`. A schema
    that is broken, refers to other documents, or takes too much work allows nothing.
    """
    try:
        document = json.loads(text)
        schema = json.loads(schema_json) if schema_json else {}
        if '"patternProperties"' in schema_json:
            schema = _without_patterns(schema)
        return bool(_validator()(schema, registry=_NOTHING).is_valid(document))
    except (ValueError, RecursionError, _TooMuch, jsonschema.SchemaError, referencing.exceptions.Unresolvable):
        return False
    except Exception:  # a broken schema fails in whatever validator meets it
        return False


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _validator() -> Any:
    left = _REFERENCES

    def counted(inner: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def follow(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any]:
            nonlocal left
            left -= 1
            if left < 0:
                raise _TooMuch
            yield from inner(validator, reference, instance, schema) or ()

        return follow

    checks = {name: counted(_BASE.VALIDATORS[name]) for name in ("$ref", "$dynamicRef")}
    return extend(_BASE, {**checks, "pattern": _pattern})


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string"):
        try:
            options = re2.Options()
            options.log_errors = False
            found = re2.compile(pattern, options).search(instance)
        except re2.error:
            return
        if found is None:
            yield jsonschema.ValidationError(f"does not match {pattern!r}")


def _without_patterns(schema: Any) -> Any:
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            # What they allow cannot be told from what nothing allows.
            schema = {k: v for k, v in schema.items() if k not in ("additionalProperties", "unevaluatedProperties")}
        return {key: _without_patterns(value) for key, value in schema.items() if key != "patternProperties"}
    return [_without_patterns(item) for item in schema] if isinstance(schema, list) else schema
