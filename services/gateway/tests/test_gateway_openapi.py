"""The OpenAPI document: every route stands in it, as it is, and real answers fit it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator

from headrace_gateway.fakes import Script
from headrace_gateway.http_api.admin import AdminApi
from headrace_gateway.http_api.admin_deployments import DeploymentsApi
from headrace_gateway.http_api.admin_keys import KeysApi
from headrace_gateway.http_api.admin_verdicts import VerdictsApi
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.collection_indexes import CollectionIndexesApi
from headrace_gateway.http_api.collection_jobs import CollectionJobsApi
from headrace_gateway.http_api.collection_sources import CollectionSourcesApi
from headrace_gateway.http_api.collections import CollectionsApi
from headrace_gateway.http_api.guardrails import GuardrailsApi
from headrace_gateway.http_api.memory import MemoryApi
from headrace_gateway.http_api.openapi import document
from headrace_gateway.http_api.traces import TracesApi
from headrace_gateway.http_api.usage import UsageApi
from headrace_protos.common.v1.chat_pb2 import ToolCall

HI = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
ADMIN = {"authorization": "Bearer bootstrap-secret"}


@pytest.fixture
def routes():
    """Those of the parts that the rig has not got: nothing behind them is reached by bad input."""
    return [
        *CollectionsApi(None, lambda: 10_000, lambda: 10_000).routes(),
        *GuardrailsApi(None).routes(), *TracesApi(None, None).routes(),
        *UsageApi(None).routes(), *KeysApi(None).routes(), *AdminApi(None, None).routes(),
        *DeploymentsApi(None).routes(), *CollectionJobsApi(None, lambda: 10_000).routes(),
        *CollectionSourcesApi(None).routes(), *CollectionIndexesApi(None, lambda: 10_000).routes(),
        *MemoryApi(None, lambda: 10_000).routes(), *VerdictsApi(None).routes(),
    ]  # fmt: skip


@pytest.fixture
async def http(rig, routes):
    """All routes, in process, as an admin."""
    transport = httpx.ASGITransport(AsgiFace(rig.application(*routes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=ADMIN) as made:
        yield made


async def served(http):
    return (await http.get("/openapi.json")).json()


async def test_it_needs_no_key_and_loads_nothing(http):
    for path, kind in (("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")):
        answer = await http.get(path, headers={"authorization": ""})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<(script|img|iframe|link|form)", answer.text)
    links = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    assert links and all(link == "/openapi.json" or link.startswith("#") for link in links)
    ids = set(re.findall(r'id="([^"]+)"', answer.text))
    assert {link[1:] for link in links if link.startswith("#")} <= ids


async def test_the_page_is_well_formed_and_names_every_operation(http):
    made, page = await served(http), (await http.get("/docs")).text

    class Tags(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    for path, methods in made["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page


async def test_every_route_is_in_it(rig, http, routes):
    made = await served(http)
    router = rig.application(*routes)._router
    known = {(method, path) for path, methods in router._exact.items() for method in methods}
    known |= {
        (route.method, re.sub(r"\{(\w+)\*?\}", r"{\1}", route.path))
        for _, methods in router._patterns
        for route in methods.values()
    }
    shown = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert shown == known and len(shown) > 30
    operations = [operation for methods in made["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)
    repeatable = {
        path
        for path, methods in made["paths"].items()
        if any(entry["name"] == "Idempotency-Key" for entry in methods.get("post", {}).get("parameters", ()))
    }
    assert repeatable == {
        path for path, methods in router._exact.items() if any(r.repeatable for r in methods.values())
    }


async def test_it_is_a_good_document(http):
    made = await served(http)
    text = json.dumps(made)
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in made["components"]["schemas"]
    for name, schema in made["components"]["schemas"].items():
        assert re.fullmatch(r"\w+", name), "two structs of one name"
        Draft202012Validator.check_schema(schema)
    for path, methods in made["paths"].items():
        for operation in methods.values():
            named = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def _calls(made):
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            if operation.get("security") != []:
                yield method.upper(), re.sub(r"\{\w+\}", "x", path), operation


async def test_bodies_are_decoded_as_they_are_described(http):
    """Every body refuses unknown fields, and a field that is required is one that is missed."""
    seen = 0
    for method, path, operation in _calls(made := await served(http)):
        if method not in ("POST", "PUT", "PATCH"):
            assert "requestBody" not in operation
            continue
        if path == "/v1/traces":
            continue  # its body is OTLP's
        body = operation["requestBody"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = made["components"]["schemas"][name]
        answer = await http.request(method, path, json={"nonsense_": 1})
        assert answer.status_code == 400, (path, answer.text)
        assert answer.json()["error"]["code"] in ("unknown_parameter", "missing_required_parameter"), path
        if required := schema.get("required"):
            answer = await http.request(method, path, json={})
            assert answer.json()["error"]["code"] == "missing_required_parameter"
            assert answer.json()["error"]["param"] in required
        seen += 1
    assert seen > 12


async def test_query_parameters_are_those_that_are_known(http):
    seen = 0
    for method, path, operation in _calls(await served(http)):
        if operation["tags"] == ["models"] and path != "/v1/models":
            continue
        named = sorted(entry["name"] for entry in operation["parameters"] if entry["in"] == "query")
        answer = await http.request(method, path, params={"nonsense_": "1"}, json={} if method == "POST" else None)
        if answer.status_code != 400 or answer.json()["error"]["param"] != "nonsense_":
            assert named == [], (path, answer.text)
            continue
        assert answer.json()["error"]["message"].endswith(f"known: {', '.join(named) or 'none'}")
        seen += 1
    assert seen > 8


ANSWERS = [
    ("/v1/chat/completions", HI),
    ("/v1/chat/completions", {**HI, "logprobs": True, "top_logprobs": 1}),
    ("/v1/completions", {"model": "plain", "prompt": "x"}),
    ("/v1/completions", {"model": "plain", "prompt": "x", "logprobs": 1}),
    ("/v1/responses", {"model": "plain", "input": "hi"}),
    ("/v1/embeddings", {"model": "minilm", "input": "a"}),
    ("/v1/embeddings", {"model": "minilm", "input": "a", "encoding_format": "base64"}),
    ("/v1/rerank", {"model": "reranker", "query": "q", "documents": ["a", "b"], "return_documents": True}),
    ("/v2/rerank", {"model": "reranker", "query": "q", "documents": ["a", "b"], "top_n": 1}),
    ("/v1/models", None),
    ("/v1/models/plain", None),
]


@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize(("path", "body"), ANSWERS)
async def test_real_answers_have_the_shape_and_no_more(rig, http, path, body, tools):
    call = ToolCall(index=0, id="c", name="f", arguments="{}")
    rig.engine.scripts["small"] = [Script(["hi"], tool_calls=[call] if tools else [])]
    made = await served(http)
    template = path if path != "/v1/models/plain" else "/v1/models/{id}"
    operation = made["paths"][template]["post" if body else "get"]
    schema = operation["responses"]["2XX"]["content"]["application/json"]["schema"]
    headers = {"authorization": "Bearer hr_dev"}
    answer = await (http.post(path, json=body, headers=headers) if body else http.get(path, headers=headers))
    assert answer.status_code == 200, answer.text
    whole = {**schema, "components": _closed(made["components"])}
    errors = [error.message for error in Draft202012Validator(whole).iter_errors(answer.json())]
    assert errors == []


def _closed(components):
    """The same, with nothing allowed that is not named."""
    schemas = {
        name: {**schema, "additionalProperties": False} if "properties" in schema else schema
        for name, schema in components["schemas"].items()
    }
    return {**components, "schemas": schemas}


async def test_errors_have_the_shape(http):
    made = await served(http)
    answer = await http.post("/v1/chat/completions", json={})
    operation = made["paths"]["/v1/chat/completions"]["post"]
    schema = operation["responses"]["400"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": _closed(made["components"])}).validate(answer.json())


def test_the_document_is_small_enough_to_serve():
    assert len(msgspec.json.encode(document([]))) < 100_000
