"""An answer that must be JSON, and valid by a schema."""

from __future__ import annotations

import json
from collections.abc import Sequence

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
from referencing import Registry

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.ports import Subject
from headrace_kit.config.guardrails import JsonSchemaCheck
from headrace_kit.errors import BadInput


class JsonSchemaJudge:
    """Fulfils `Judge`. References go to the schema itself only: nothing is fetched."""

    version = ""

    def __init__(self, check: JsonSchemaCheck) -> None:
        try:
            Draft202012Validator.check_schema(check.json_schema)
        except SchemaError as error:
            raise BadInput(f"is no JSON Schema: {error.message[:200]}", param="json_schema") from error
        self._validator = Draft202012Validator(check.json_schema, registry=Registry())
        self._action = Action(check.action)

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return [self._found("not_json", len(text))]
        invalid = next(self._validator.iter_errors(value), None)
        return [self._found("invalid", len(text))] if invalid is not None else []

    def _found(self, kind: str, chars: int) -> Extra:
        return Extra(Finding("json_schema", kind, 0, chars, 1.0, self._action))
