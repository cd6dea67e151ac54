"""`/openapi.json` and `/docs`: the API's description for programs and for people, without a key.

The page is made from the document, as plain HTML: it loads nothing from anywhere and runs no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import JSON
from headrace_gateway.http_api.openapi import document
from headrace_gateway.http_api.port import Headers, Request, Response
from headrace_gateway.http_api.router import Route

_CACHED = ("cache-control", "public, max-age=300")
_PAGE_HEADERS: Headers = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    _CACHED,
]


class DocsApi:
    """Describes routes, and its own two.

    Args:
        routes: all others.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._described = [*routes, *self.routes()]
        self._json = b""
        self._page = b""

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("GET", "/openapi.json", self.openapi, public=True),
            Route("GET", "/docs", self.docs, public=True, media_type="text/html"),
        ]

    async def openapi(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """This document."""
        self._make()
        return Response(200, self._json, [JSON, _CACHED, ("access-control-allow-origin", "*")])

    async def docs(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """This document, to read."""
        self._make()
        return Response(200, self._page, _PAGE_HEADERS)

    def _make(self) -> None:
        if not self._json:
            made = document(self._described)
            self._json = msgspec.json.encode(made)
            self._page = page(made).encode()


def page(made: Mapping[str, Any]) -> str:
    """An OpenAPI document as one HTML page."""
    info = made["info"]
    operations = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [tag["name"] for tag in made["tags"]]
    menu = " ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tags)
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        "<p>Send your key as <code>authorization: Bearer hr_...</code>, or give it to OpenAI's SDK with this server's "
        'address and <code>/v1</code> as its base URL. For programs: <a href="/openapi.json">/openapi.json</a>.</p>',
        f"<nav>{menu} <a href='#schemas'>schemas</a></nav>",
    ]
    for tag in tags:
        parts.append(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>')
        parts += [_operation(*entry[1:]) for entry in operations if entry[0] == tag]
    parts.append('<h2 id="schemas">schemas</h2>')
    parts += [_schema(name, schema) for name, schema in sorted(made["components"]["schemas"].items())]
    return _FRAME % (escape(info["title"]), "\n".join(parts))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        (parameter["name"], f"{parameter['in']}, string", parameter.get("description", ""))
        for parameter in operation["parameters"]
    ]
    body = ""
    if "requestBody" in operation:
        body = f"<p>Body: {_type(operation['requestBody']['content']['application/json']['schema'])}</p>"
    answers = []
    for status, answer in operation["responses"].items():
        kinds = ", ".join(
            f"{escape(media)} {_type(content['schema'])}" for media, content in answer.get("content", {}).items()
        )
        answers.append((status, kinds, answer["description"]))
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method}</b> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary><p>{escape(operation.get('description', ''))}</p>"
        f"{_table(rows, escaped=(0, 1, 2))}{body}{_table(answers, escaped=(0, 2))}</details>"
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (field + ("" if field in required else "?"), _type(known), known.get("description", ""))
        for field, known in schema.get("properties", {}).items()
    ]
    table = _table(rows, escaped=(0, 2)) if rows else f"<p>{_type(schema)}</p>"
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{escape(schema.get('description', ''))}</summary>{table}</details>"
    )


def _table(rows: Iterable[tuple[str, str, str]], escaped: tuple[int, ...]) -> str:
    lines = [
        "<tr>" + "".join(f"<td>{escape(cell) if at in escaped else cell}</td>" for at, cell in enumerate(row)) + "</tr>"
        for row in rows
    ]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with its bounds."""
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(msgspec.json.encode(value).decode())}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(msgspec.json.encode(schema['const']).decode())}</code>"
    kind = escape(str(schema.get("type", "anything")))
    if kind == "array":
        kind = f"list of {_type(schema.get('items') or {})}"
    bounds = [f"{_BOUNDS[name]} {schema[name]}" for name in _BOUNDS if name in schema]
    return kind + (f" ({escape(', '.join(bounds))})" if bounds else "")


_BOUNDS = {
    "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "minLength": "at least", "maxLength": "at most",
    "minItems": "at least", "maxItems": "at most", "maxProperties": "at most", "pattern": "like",
}  # fmt: skip

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%s</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
nav a{margin-right:.8rem} details{border:1px solid #d5dbe1;border-radius:4px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer} table{border-collapse:collapse;margin:.5rem 0;width:100%%} td{border-top:1px solid #e6eaee;
padding:.2rem .6rem;vertical-align:top} code{font-size:.93em} a{color:#0b62b3}
@media (prefers-color-scheme:dark){body{color:#dfe5ea;background:#14181c}
details,td{border-color:#333b43}a{color:#7db8f0}}
</style></head><body>
%s
</body></html>
"""
