"""The HTTP surface: requests through the application, and both faces of it on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import httpx
import pytest

from headrace_gateway.fakes import Script
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.port import Response
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_gateway.http_api.usage import UsageApi
from headrace_gateway.ledger.usage import UsageRow
from headrace_kit.errors import STATUS, HeadraceError, public_message
from headrace_kit.hosting.http import HttpServer

AUTH = {"authorization": "Bearer hr_dev"}
HI = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}


@contextlib.asynccontextmanager
async def client(rig, *routes):
    """The application behind its ASGI face, in process."""
    transport = httpx.ASGITransport(AsgiFace(rig.application(*routes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=AUTH) as made:
        yield made


@contextlib.asynccontextmanager
async def served(rig, *routes):
    """The application behind granian, on a real port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = HttpServer(RsgiFace(rig.application(*routes)).__rsgi__, "127.0.0.1", port)
    await server.start()
    try:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers=AUTH, trust_env=False) as made:
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await made.get("/v1/models")
                        break
                    await asyncio.sleep(0.02)
            rig.left.clear()
            yield made
    finally:
        await server.stop()


def events(text):
    """The data of each server-sent event; every event is exactly `data: ...` and a blank line."""
    assert text.endswith("\n\n")
    blocks = text[:-2].split("\n\n")
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block[6:] for block in blocks]


async def test_an_answer_in_openais_shape_with_our_headers(rig):
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", json=HI)
    body = answer.json()
    assert answer.status_code == 200 and body["object"] == "chat.completion"
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "hello", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert (body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (10, 11)
    headers = answer.headers
    assert headers["x-headrace-request-id"] == body["headrace"]["request_id"] in body["id"]
    assert headers["x-headrace-trace-id"] == body["headrace"]["trace_id"]
    assert (headers["x-headrace-model"], headers["x-headrace-deployment"]) == ("plain", "small")
    assert (headers["x-headrace-arm"], headers["x-headrace-cache"]) == ("baseline", "bypass")
    assert headers["x-headrace-cost-usd"] == body["headrace"]["cost_usd"] == "0.000012"


async def test_a_stream_is_exact(rig):
    rig.engine.scripts["small"] = [
        Script(["Hel", 'lo "\n']),
    ]
    async with client(rig) as http:
        answer = await http.post(
            "/v1/chat/completions", json={**HI, "stream": True, "stream_options": {"include_usage": True}}
        )
    assert answer.headers["content-type"] == "text/event-stream"
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert parsed[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in parsed[:-1]) == 'Hello "\n'
    *texts, finish, usage = parsed
    assert all(chunk["usage"] is None and "headrace" not in chunk for chunk in texts)
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert finish["headrace"]["deployment"] == "small" and finish["headrace"]["cost_usd"] == "0.000014"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 2
    assert len({chunk["id"] for chunk in parsed}) == 1


async def test_without_include_usage_there_is_no_usage(rig):
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", json={**HI, "stream": True})
    assert all("usage" not in json.loads(chunk) for chunk in events(answer.text)[:-1])


async def test_an_error_in_the_middle_is_the_last_event(rig):
    rig.engine.scripts["small"] = [Script(["half"], error=STATUSES["Upstream"]("the engine died"))]
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", json={**HI, "stream": True})
    assert answer.status_code == 200
    *_, last = events(answer.text)
    assert json.loads(last)["error"] == {
        "message": "the engine died", "type": "upstream_error", "param": None, "code": "upstream_failed",
    }  # fmt: skip
    [left] = rig.left
    assert (left.status, left.error) == (200, "upstream_failed")


async def test_completions_stream_and_not(rig):
    async with client(rig) as http:
        whole = (await http.post("/v1/completions", json={"model": "plain", "prompt": "x"})).json()
        assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", "hello")
        answer = await http.post("/v1/completions", json={"model": "plain", "prompt": ["x"], "stream": True})
        chunks = [json.loads(chunk) for chunk in events(answer.text)[:-1]]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["hello", ""]
    assert rig.engine.calls[0].request.prompt == "x"
    assert rig.closed()[0].operation == "completion"


STATUSES = {cls.__name__: cls for cls in STATUS}


@pytest.mark.parametrize("name", STATUSES)
async def test_every_error_of_the_table_over_http(rig, name):
    error = STATUSES[name]("what was wrong", param="field", retry_after_s=1.2)

    async def fail(visit, request, parameters):
        raise error

    async with client(rig, Route("GET", "/v1/fail", fail)) as http:
        answer = await http.get("/v1/fail")
    row = STATUS[STATUSES[name]]
    assert answer.status_code == row.http
    assert answer.json()["error"] == {
        "message": public_message(error), "type": row.type, "param": "field", "code": error.code,
    }  # fmt: skip
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-headrace-request-id"] and answer.headers["x-headrace-trace-id"]
    assert rig.left[0].status == row.http and rig.in_flight.total == 0
    assert STATUSES[name] is HeadraceError or answer.json()["error"]["message"] == "what was wrong"


async def test_an_unexpected_exception_tells_nothing(rig):
    async def fail(visit, request, parameters):
        raise RuntimeError("secret detail")

    async with client(rig, Route("GET", "/v1/fail", fail)) as http:
        answer = await http.get("/v1/fail")
    assert answer.status_code == 500 and "secret" not in answer.text


BAD = [
    (b"", "invalid_json", None),
    (b'{"model": ', "invalid_json", None),
    (b'{"model": "plain" "messages"}', "invalid_json", None),
    (b'{"model": "\xff"}', "invalid_json", None),
    (b'{"model": "plain", "messages": [{"role": "user", "content": "\\ud83d"}]}', "invalid_json", None),
    (b'{"audio": ' + b"[" * 100_000, "invalid_json", None),
    (b"[]", "invalid_value", None),
    (b'{"messages": [{"role": "user", "content": "x"}]}', "missing_required_parameter", "model"),
    (b'{"model": "plain", "messages": []}', "invalid_value", "messages"),
    (b'{"model": "plain", "messages": "hi"}', "invalid_value", "messages"),
    (b'{"model": "plain", "messages": [{"role": "cat", "content": "x"}]}', "invalid_value", "messages[0].role"),
    (b'{"model": "plain", "messages": [{"role": "user"}]}', "missing_required_parameter", "messages[0].content"),
    (b'{"model": "plain", "messages": [{"role": "user", "content": 5}]}', "invalid_value", "messages[0].content"),
    (
        b'{"model": "plain", "messages": [{"role": "tool", "content": ""}]}',
        "invalid_request",
        "messages[0].tool_call_id",
    ),
]


@pytest.mark.parametrize(("body", "code", "param"), BAD)
async def test_a_bad_body_is_refused_by_place(rig, body, code, param):
    rig.max_body_bytes = 1_000_000
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (code, param)
    assert rig.engine.calls == []


FIELDS = [
    ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", 10**12), ("max_completion_tokens", 0), ("temperature", 3),
    ("temperature", "hot"), ("top_p", 0), ("n", 0), ("n", 99), ("stop", ["a"] * 5), ("stop", ""), ("seed", 2**70),
    ("presence_penalty", -3), ("frequency_penalty", 3), ("top_logprobs", 3), ("logprobs", "yes"),
    ("stream_options", {"include_usage": True}), ("response_format", {"type": "xml"}), ("tools", [{"type": "x"}]),
    ("tool_choice", "required"), ("parallel_tool_calls", True), ("metadata", {"a": 1}), ("foo", 1),
    ("headrace", {"foo": 1}), ("headrace", {"cache": "hit"}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), FIELDS)
async def test_a_bad_field_is_named(rig, field, value):
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", json={**HI, field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0].split("[")[0] == field
    assert rig.engine.calls == []


async def test_all_of_a_request_reaches_the_engine(rig):
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    body = {
        **HI, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "n": 1, "stop": "END", "seed": 3,
        "logprobs": True, "top_logprobs": 2, "presence_penalty": 1, "frequency_penalty": -1, "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "store": False, "service_tier": "auto", "metadata": {"k": "v"},
    }  # fmt: skip
    async with client(rig) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    sampling = rig.engine.calls[0].request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.seed) == (7, 0.5, 0.9, 3)
    assert (list(sampling.stop), sampling.top_logprobs, sampling.tool_choice) == (["END"], 2, "f")
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.parallel_tool_calls) == (1, -1, False)
    assert (sampling.tools[0].name, sampling.tools[0].parameters_json) == ("f", '{"type":"object"}')
    assert (sampling.response_format.type, sampling.response_format.schema_json) == ("json_schema", '{"type":"object"}')


async def test_paths_methods_and_keys(rig):
    async with client(rig) as http:
        assert (await http.get("/v1/nope")).status_code == 404
        wrong = await http.put("/v1/models")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
        assert (await http.get("/v1/models", headers={"authorization": ""})).status_code == 401
        assert (await http.get("/v1/models?x=1")).status_code == 400
        assert (await http.get("/v1/models/%00")).status_code == 404
        assert (await http.get("/v1/models", headers={"x-headrace-timeout-ms": "soon"})).status_code == 400
        unknown = await http.post("/v1/chat/completions", json={**HI, "model": "plian"})
        assert unknown.status_code == 404 and "did you mean 'plain'" in unknown.json()["error"]["message"]


async def test_a_tenant_hears_of_its_own_models_only(rig):
    async with client(rig) as http:
        narrow = {"authorization": "Bearer hr_narrow"}
        assert [model["id"] for model in (await http.get("/v1/models", headers=narrow)).json()["data"]] == ["plain"]
        refusal = await http.post("/v1/chat/completions", json={**HI, "model": "assistant"}, headers=narrow)
        assert refusal.status_code == 404 and "guarded" not in refusal.text
        assert (await http.get("/v1/models/assistant", headers=narrow)).status_code == 404
        assert (await http.get("/v1/models/assistant")).json()["task"] == "chat"


async def test_admin_routes_need_the_scope(rig):
    async def fine(visit, request, parameters):
        return Response(200, b"{}")

    async with client(rig, Route("GET", "/v1/admin/x", fine, admin=True)) as http:
        assert (await http.get("/v1/admin/x")).status_code == 403
        admin = {"authorization": "Bearer bootstrap-secret"}
        assert (await http.get("/v1/admin/x", headers=admin)).status_code == 200


async def test_a_person_in_header_or_body_reaches_the_engine_signed(rig):
    body = {**HI, "headrace": {"user": "ana", "groups": ["g"]}}
    async with client(rig) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 403
        assert (await http.post("/v1/chat/completions", json=HI, headers={"x-headrace-user": "ana"})).status_code == 403
        asserting = {"authorization": "Bearer hr_asserting"}
        await http.post("/v1/chat/completions", json=body, headers=asserting)
        await http.post(
            "/v1/chat/completions",
            json=HI,
            headers={**asserting, "x-headrace-user": "bob", "x-headrace-groups": "a, b"},
        )
    first, second = (call.sent.identity for call in rig.engine.calls)
    assert (first.user, first.groups) == ("ana", ("g",))
    assert (second.user, second.groups, second.tenant) == ("bob", ("a", "b"), "dev")


async def test_an_admin_asks_for_another_team_and_nobody_else_does(rig):
    admin, team = {"authorization": "Bearer bootstrap-secret"}, {"x-headrace-tenant": "red"}
    async with client(rig) as http:
        refused = await http.post("/v1/chat/completions", json=HI, headers=team)
        assert (refused.status_code, refused.json()["error"]["param"]) == (403, "x-headrace-tenant")
        assert (
            await http.post("/v1/chat/completions", json=HI, headers={"x-headrace-tenant": "dev"})
        ).status_code == 200
        strange = await http.post("/v1/chat/completions", json=HI, headers={**admin, "x-headrace-tenant": "Red!"})
        assert (strange.status_code, strange.json()["error"]["param"]) == (400, "x-headrace-tenant")
        assert (await http.post("/v1/chat/completions", json=HI, headers={**admin, **team})).status_code == 200
    assert [call.sent.identity.tenant for call in rig.engine.calls] == ["dev", "red"]


async def test_embeddings_as_numbers_and_as_base64(rig):
    async with client(rig) as http:
        numbers = (await http.post("/v1/embeddings", json={"model": "minilm", "input": ["a", "b"]})).json()
        assert [entry["embedding"] for entry in numbers["data"]] == [[1.0, 0.0], [1.0, 0.0]]
        packed = await http.post("/v1/embeddings", json={"model": "minilm", "input": "a", "encoding_format": "base64"})
        assert packed.json()["data"][0]["embedding"] == "AACAPwAAAAA="
        for wrong in ([1, 2], [], [""], 5):
            answer = await http.post("/v1/embeddings", json={"model": "minilm", "input": wrong})
            assert answer.status_code == 400 and answer.json()["error"]["param"].startswith("input")
        assert (await http.post("/v1/embeddings", json={"model": "plain", "input": "a"})).status_code == 400
    assert [event.operation for event in rig.closed()] == ["embedding", "embedding"]


async def test_rerank_is_best_first(rig):
    body = {
        "model": "reranker",
        "query": "q",
        "documents": ["a", {"text": "longer"}, "mid"],
        "top_n": 2,
        "return_documents": True,
    }
    async with client(rig) as http:
        results = (await http.post("/v1/rerank", json=body)).json()["results"]
    assert [result["index"] for result in results] == [1, 2] and results[0]["document"] == {"text": "longer"}


async def test_a_large_body_is_refused_announced_or_not(rig):
    async with served(rig) as http:
        assert (await http.post("/v1/chat/completions", content=b"x" * 20_000)).status_code == 413

        async def pieces():
            for _ in range(20):
                yield b"x" * 1000

        answer = await http.post("/v1/chat/completions", content=pieces())
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"
        assert (await http.post("/v1/chat/completions", json=HI)).status_code == 200


async def test_a_stream_on_granian_and_a_client_who_leaves(rig):
    rig.engine.scripts["small"] = [Script(["one"]), Script(["one"], hang=True)]
    async with served(rig) as http:
        answer = await http.post("/v1/chat/completions", json={**HI, "stream": True})
        assert events(answer.text)[-1] == "[DONE]"
        async with http.stream("POST", "/v1/chat/completions", json={**HI, "stream": True}) as answer:
            async for _ in answer.aiter_lines():
                break
        async with asyncio.timeout(5):
            while len(rig.left) < 2:
                await asyncio.sleep(0.01)
    assert rig.engine.calls[1].cancelled
    assert [left.error for left in rig.left] == ["", "client_closed_request"]
    assert rig.in_flight.total == 0


async def test_a_client_who_leaves_before_the_first_token(rig):
    rig.engine.scripts["small"] = [Script([], hang=True)]
    async with served(rig) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/chat/completions", json=HI, timeout=0.3)
        async with asyncio.timeout(5):
            while not rig.left:
                await asyncio.sleep(0.01)
    assert rig.engine.calls[0].cancelled and rig.in_flight.total == 0
    assert (rig.left[0].status, rig.left[0].error) == (499, "client_closed_request")


async def test_what_outlasts_a_drain_ends_honestly(rig):
    rig.engine.scripts["small"] = [Script(["one"], hang=True), Script([], hang=True)]
    async with served(rig) as http:
        async with http.stream("POST", "/v1/chat/completions", json={**HI, "stream": True}) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            waiting = asyncio.create_task(http.post("/v1/chat/completions", json=HI))
            async with asyncio.timeout(5):
                while len(rig.engine.calls) < 2:
                    await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(rig.in_flight.drain(), 0.05)
            rest = [line async for line in lines if line]
            refused_answer = await waiting
            late = await http.get("/v1/models")
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "draining"
    assert (refused_answer.status_code, refused_answer.json()["error"]["code"]) == (503, "draining")
    assert late.status_code == 503 and late.headers["retry-after"] == "1"
    assert all(call.cancelled for call in rig.engine.calls)
    assert [event.error_code for event in rig.closed()] == ["draining", "draining"]


async def test_a_body_that_breaks_off(rig):
    async with served(rig) as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer hr_dev\r\n")
        writer.write(b"content-length: 50\r\n\r\n{")
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(4096), 5)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400")


async def test_usage_as_json_and_as_a_table(rig):
    asked = []

    async def usage(query):
        asked.append(query)
        return [UsageRow(("2026-11-01", 'a "b", c'), 2, 24, 6, 24_000, 4_000, 1, 1_000)]

    async with client(rig, *UsageApi(usage).routes()) as http:
        [row] = (await http.get("/v1/usage?group_by=day,model")).json()["data"]
        assert (row["model"], row["cache_hits"], row["saved_usd"]) == ('a "b", c', 1, "0.000001")
        table = await http.get("/v1/usage?group_by=day,model&format=csv")
        assert table.headers["content-type"] == "text/csv; charset=utf-8"
        assert table.text.splitlines() == [
            "day,model,requests,input_tokens,output_tokens,cost_usd,overhead_usd,cache_hits,saved_usd",
            '2026-11-01,"a ""b"", c",2,24,6,0.000024,0.000004,1,0.000001',
        ]
        wrong = await http.get("/v1/usage?format=xml")
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "format")
    assert {query.tenant for query in asked} == {"dev"}
