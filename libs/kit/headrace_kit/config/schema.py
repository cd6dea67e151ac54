"""The config's JSON schema and its reference page, both made from the models.

`python -m headrace_kit.config.schema` prints the schema; with `--reference` the reference page in Markdown.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from headrace_kit.config.document import Config


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `headrace.yaml`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(mode="validation"),
        "title": "headrace.yaml",
    }


def schema_text() -> str:
    """The schema as the file that is kept in `docs/reference`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def reference() -> str:
    """The reference page: a table per section, with types, defaults and bounds."""
    schema = json_schema()
    lines = ["# headrace.yaml", "", "Made from the config models by `make protos`; do not edit.", ""]
    lines += _table("(top level)", schema)
    for name in sorted(schema["$defs"]):
        if schema["$defs"][name].get("type") == "object":
            lines += _table(name, schema["$defs"][name])
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, schema: dict[str, Any]) -> list[str]:
    lines = [
        f"## {name}",
        "",
        schema.get("description", ""),
        "",
        "| key | type | default | what |",
        "|---|---|---|---|",
    ]
    for key, field in schema.get("properties", {}).items():
        needed = key in schema.get("required", ())
        default = "required" if needed else f"`{json.dumps(field['default'])}`" if "default" in field else ""
        what = " ".join([field.get("description", ""), _bounds(field)]).strip()
        lines.append(f"| `{key}` | {_type(field)} | {default} | {what.replace('|', chr(92) + '|')} |")
    return [*lines, ""]


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_type(part) for part in field[key] if part.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
    if field.get("type") == "object" and isinstance(values[0], dict):
        return f"map of {_type(values[0])}"
    return str(field.get("type", "any"))


def _bounds(field: dict[str, Any]) -> str:
    names = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    parts = [f"{sign} {field[key]}" for key, sign in names.items() if key in field]
    return f"({', '.join(parts)})" if parts else ""


if __name__ == "__main__":
    sys.stdout.write(reference() if "--reference" in sys.argv[1:] else schema_text())
