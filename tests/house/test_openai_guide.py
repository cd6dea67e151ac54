"""The guide's tables say of every field of the requests what the gateway does with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from headrace_gateway.http_api.chat_schema import ChatBody, CompletionBody, HeadraceOptions
from headrace_gateway.http_api.refused import HARMLESS, unsupported
from headrace_gateway.http_api.responses_schema import ResponsesBody
from headrace_gateway.http_api.vectors import EmbedBody, RerankBody

GUIDE = (Path(__file__).parents[2] / "docs/guides/openai-compatibility.md").read_text()
BODIES = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/responses": ResponsesBody,
    "/v1/embeddings": EmbedBody,
    "/v1/rerank": RerankBody,
}
ROW = re.compile(r"^\| `(\w+)` \| (honoured|refused) \| ?(.*?) ?\|$", re.MULTILINE)


@pytest.mark.parametrize("path", BODIES)
def test_the_table_is_the_schema(path):
    section = GUIDE.split(f"## `POST {path}`\n")[1].split("\n## ")[0]
    rows = {name: (verdict, how) for name, verdict, how in ROW.findall(section)}
    body = BODIES[path]
    refused = set(unsupported(body))
    assert {name: verdict for name, (verdict, _) in rows.items()} == {
        field.name: "refused" if field.name in refused else "honoured" for field in msgspec.structs.fields(body)
    }
    for name in refused:
        for value in HARMLESS.get(name, ()):
            shown = value if isinstance(value, str) and value else json.dumps(value)
            assert f"`{shown}`" in rows[name][1], f"{name}: {shown} passes"


def test_what_headrace_adds_is_whole():
    section = GUIDE.split("## What headrace adds\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in msgspec.structs.fields(HeadraceOptions)}
