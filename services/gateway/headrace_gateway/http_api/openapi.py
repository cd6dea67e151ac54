"""The OpenAPI document of all routes, made from the routes and the structs that their bodies are decoded with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headrace_gateway.http_api.answers import ErrorEnvelope
from headrace_gateway.http_api.refused import HARMLESS, unsupported
from headrace_gateway.http_api.responses_schema import ITEMS, FunctionTool
from headrace_gateway.http_api.router import PARAMETER, Route
from headrace_kit.errors import STATUS, ClientGone, TooLarge

_REF = "#/components/schemas/{name}"
_IDENTITY = {
    "x-headrace-user": "For whom the caller asks. Needs a key with the scope `assert_identity`.",
    "x-headrace-groups": "Groups of that person, separated by commas.",
    "x-headrace-tenant": "For which team the caller asks, if not its own. Needs a key with the scope `admin`.",
    "x-headrace-timeout-ms": "Most milliseconds that the answer may take.",
}
"""Headers that every route with a key takes."""

_ONCE = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A repeat under the same key gets the same answer.",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 document in which every route stands."""
    kinds: list[Any] = [ErrorEnvelope, FunctionTool, *ITEMS.values()]
    for route in routes:
        kinds += [kind for kind in (route.body, route.answer) if kind is not None and kind not in kinds]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    references = dict(zip(kinds, schemas, strict=True))
    _mark(components)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headrace",
            "version": "v1",
            "description": "OpenAI's API for the models, collections and guardrails of this platform. "
            "What is beyond OpenAI's stands in `headrace` objects and `x-headrace-*` headers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of your team: `Bearer hr_...`"}
            },
        },
    }


def _operation(route: Route, references: dict[Any, Any]) -> dict[str, Any]:
    summary, _, rest = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "tags": [_tag(route)],
        "summary": summary.rstrip("."),
        "parameters": _parameters(route),
        "responses": _responses(route, references),
    }
    if notes := "\n\n".join(filter(None, [rest.strip(), "For keys with the scope `admin`." if route.admin else ""])):
        operation["description"] = notes
    if route.body is not None:
        schema = references[route.body]
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {"application/json": {"schema": schema}},
        }
        if route.files:
            operation["requestBody"]["content"]["multipart/form-data"] = {"schema": _form(route.files)}
    if route.public:
        operation["security"] = []
    return operation


def _form(fields: Sequence[str]) -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties = {name: {"type": "string"} for name in fields} | {"file": {"type": "array", "items": file}}
    return {"type": "object", "properties": properties, "required": ["file"]}


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        {"name": name, "in": "path", "required": True, "schema": {**text, "minLength": 1}}
        for name, _ in PARAMETER.findall(route.path)
    ]
    found += [{"name": name, "in": "query", "schema": text} for name in sorted(route.query)]
    if not route.public:
        found += [
            {"name": name, "in": "header", "schema": text, "description": description}
            for name, description in _IDENTITY.items()
        ]
    if route.repeatable:
        found.append(_ONCE)
    return found


def _responses(route: Route, references: dict[Any, Any]) -> dict[str, Any]:
    shape = references[route.answer] if route.answer is not None else {"type": "object"}
    content: dict[str, Any] = {route.media_type: {"schema": shape if "json" in route.media_type else {}}}
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    responses: dict[str, Any] = {"2XX": {"description": "Done.", "content": content}}
    error = {"application/json": {"schema": references[ErrorEnvelope]}}
    for kind, row in STATUS.items() if not route.public else ():
        if kind is not ClientGone and (kind is not TooLarge or route.body is not None):
            name = (inspect.getdoc(kind) or "").partition("\n")[0]
            responses.setdefault(str(row.http), {"description": name, "content": error})
    return {**responses, "default": {"description": "An error, in OpenAI's shape.", "content": error}}


def _mark(components: dict[str, Any]) -> None:
    """Show which fields are known and refused: they may only have values that ask for nothing."""
    for kind in _structs(Struct):
        name = kind.__name__
        properties = components.get(name, {}).get("properties", {})
        for field in unsupported(kind):
            if field in properties:
                properties[field] = {
                    "description": "Not supported: refused, but for values that ask for nothing.",
                    "enum": [None, *HARMLESS.get(field, ())],
                }


def _structs(kind: type[Struct]) -> list[type[Struct]]:
    found = []
    for one in kind.__subclasses__():
        found += [one, *_structs(one)]
    return [one for one in found if one.__module__.startswith("headrace_gateway.http_api")]


def _operation_id(route: Route) -> str:
    """`post_v1_chat_completions`: stable, and a name in most languages."""
    return re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")


def _tag(route: Route) -> str:
    parts = [part for part in route.path.split("/") if part]
    if route.admin:
        return "admin"
    return parts[1] if len(parts) > 1 and parts[0] in ("v1", "v2") else "about"
