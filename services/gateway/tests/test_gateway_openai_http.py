"""Endpoints outside: requests, answers, credentials, config."""

from __future__ import annotations

import asyncio
import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from headrace_gateway.adapters.openai_http.fake import (
    DONE,
    SECRET,
    STREAM,
    USAGE,
    Endpoint,
    Outside,
    Served,
    asked,
    chunked,
    completion,
    delta,
    event,
    fails,
    response,
    says,
)
from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import BadInput, Upstream
from headrace_protos.common.v1.chat_pb2 import Tool
from headrace_protos.inference.v1 import messages_pb2 as pb


async def test_a_whole_answer(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(response(completion()))
    [chunk] = await outside.ask(asked(temperature=0.5, stop=["END"], max_tokens=9))
    assert (chunk.text, chunk.finish_reason) == ("hi you", "stop")
    assert (chunk.usage.input_tokens, chunk.usage.cached_input_tokens, chunk.usage.output_tokens) == (7, 2, 3)
    [served] = endpoint.served
    assert served.path == "/v1/chat/completions"
    assert served.headers["authorization"] == f"Bearer {SECRET}" and served.headers["x-client-request-id"] == "r-1"
    assert served.body == {
        "model": "m",
        "max_completion_tokens": 9,
        "messages": [{"role": "user", "content": "hello there"}],
        "temperature": 0.5,
        "stop": ["END"],
    }


async def test_a_connection_is_used_again_after_a_whole_response(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(response(completion()))
    for _ in range(3):
        await outside.ask()
    endpoint.act = says(STREAM + chunked(delta("hi"), delta(finish="stop"), DONE))
    for _ in range(3):
        await outside.ask(whole=False)
    assert endpoint.connections == 1


async def test_other_deployments_go_to_inference(outside: Outside, endpoint: Endpoint) -> None:
    await outside.ask(pb.GenerateRequest(deployment="small", prompt="x"))
    assert [call.deployment for call in outside.inside.calls] == ["small"]
    assert not endpoint.served


async def test_an_endpoint_keeps_its_connections_over_a_change_of_the_rest(
    outside: Outside, endpoint: Endpoint
) -> None:
    endpoint.act = says(response(completion()))
    await outside.ask()
    config = outside.snapshot.config
    outside.snapshot = Snapshot(
        config.model_copy(update={"deployments": {"out": config.deployments["out"]}}), Path("x")
    )
    outside.configs.replace(outside.snapshot)
    await outside.ask()
    assert endpoint.connections == 1


async def test_a_stream(outside: Outside, endpoint: Endpoint) -> None:
    events = [delta(role="assistant"), b": ping\n\n", delta("hi"), delta(" you"), delta(finish="length")]
    endpoint.act = says(STREAM + chunked(*events, event(choices=[], usage=USAGE), DONE))
    chunks = await outside.ask(whole=False)
    assert "".join(chunk.text for chunk in chunks) == "hi you"
    assert chunks[-1].finish_reason == "length" and chunks[-1].usage.output_tokens == 3
    assert endpoint.served[0].body["stream_options"] == {"include_usage": True}


async def test_a_stream_cut_at_every_byte(outside: Outside, endpoint: Endpoint) -> None:
    data = STREAM + chunked(delta("hé"), delta("llo 🦦"), delta(finish="stop"), DONE)

    async def dribble(_: Served, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)

    endpoint.act = dribble
    chunks = await outside.ask(whole=False)
    assert "".join(chunk.text for chunk in chunks) == "héllo 🦦"


async def test_tool_calls_of_a_stream(outside: Outside, endpoint: Endpoint) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}
    events = [delta(tool_calls=[first]), delta(tool_calls=[more]), delta(finish="stop"), DONE]
    endpoint.act = says(STREAM + chunked(*events))
    request = asked(tools=[Tool(name="f", parameters_json='{"type":"object"}')], tool_choice="f")
    chunks = await outside.ask(request, whole=False)
    calls = [call for chunk in chunks for call in chunk.tool_calls]
    assert [(call.id, call.name, call.arguments) for call in calls] == [("c1", "f", ""), ("", "", '{"a":1}')]
    assert chunks[-1].finish_reason == "tool_calls"
    assert endpoint.served[0].body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert endpoint.served[0].body["tools"][0]["function"]["parameters"] == {"type": "object"}


async def test_log_probabilities_are_statistics_too(outside: Outside, endpoint: Endpoint) -> None:
    entries = [{"token": "a", "logprob": -1.0, "top_logprobs": []}, {"token": "b", "logprob": None}]
    choice = {"index": 0, "delta": {"content": "ab"}, "logprobs": {"content": entries}}
    endpoint.act = says(STREAM + chunked(event(choices=[choice]), delta(finish="stop"), DONE))
    request = asked()
    request.want_stats = True
    first, *_ = await outside.ask(request, whole=False)
    assert first.stats.tokens == 2 and first.stats.min_logprob == -9999.0 and not first.logprobs
    assert endpoint.served[0].body["logprobs"] is True
    outside.configure(logprobs=False)
    await outside.ask(request, whole=False)
    assert "logprobs" not in endpoint.served[1].body
    await fails(outside, BadInput, "unsupported_parameter", request=asked(top_logprobs=1))


async def test_usage_that_is_not_told_is_what_was_seen(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(stream_usage=False)
    endpoint.act = says(STREAM + chunked(delta("12345678"), delta(finish="stop"), DONE))
    chunks = await outside.ask(whole=False)
    assert (chunks[-1].usage.input_tokens, chunks[-1].usage.output_tokens) == (3, 2)
    assert "stream_options" not in endpoint.served[0].body


async def test_vectors(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(task="embed", dimensions=2, texts_per_call=2)

    async def act(served: Served, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rows = [{"index": n, "embedding": [3.0, len(text)]} for n, text in enumerate(served.body["input"])]
        writer.write(response(json.dumps({"data": rows[::-1], "usage": {"prompt_tokens": 5}}).encode()))

    endpoint.act = act
    answer = await outside.engines.embed(pb.EmbedRequest(deployment="out", texts=["four", "", "four"]), outside.sent())
    assert [array("f", entry.vector).tolist() for entry in answer.embeddings] == [
        pytest.approx(vector) for vector in ([0.6, 0.8], [1.0, 0.0], [0.6, 0.8])
    ]
    assert answer.usage.input_tokens == 10
    assert sorted(len(served.body["input"]) for served in endpoint.served) == [1, 2]


async def test_vectors_of_another_length_or_number(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(task="embed", dimensions=3)
    for rows, code in (
        ([{"index": 0, "embedding": [1.0, 2.0]}], "engine_misconfigured"),
        ([], "engine_failed"),
        ([{"index": 1, "embedding": [1.0, 2.0, 3.0]}], "engine_failed"),
    ):
        endpoint.act = says(response(json.dumps({"data": rows}).encode()))
        with pytest.raises(Upstream) as caught:
            await outside.engines.embed(pb.EmbedRequest(deployment="out", texts=["a"]), outside.sent())
        assert caught.value.code == code


async def test_credentials_are_read_again(outside: Outside, endpoint: Endpoint) -> None:
    secret = outside.secrets.folder / "provider"
    secret.unlink()
    await fails(outside, Upstream, "engine_auth")
    secret.write_text("one\r\nx-evil: 1")
    await fails(outside, Upstream, "engine_auth")
    secret.write_text("one")
    endpoint.act = says(response(b"{}", "401 No"))
    await fails(outside, Upstream, "engine_auth")
    secret.write_text("two")
    endpoint.act = says(response(completion()))
    await outside.ask()
    assert [served.headers["authorization"] for served in endpoint.served] == ["Bearer one", "Bearer two"]


async def test_headers_of_the_config(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(credentials=None, headers={"Api-Key": {"secret": "provider"}, "X-Team": "search"})
    endpoint.act = says(response(completion()))
    await outside.ask()
    headers = endpoint.served[0].headers
    assert headers["api-key"] == SECRET and headers["x-team"] == "search" and "authorization" not in headers


async def test_what_endpoints_do_not_have_is_refused_by_name(outside: Outside) -> None:
    request = asked(top_k=3)
    assert (await fails(outside, BadInput, "unsupported_parameter", request=request)).param == "top_k"
    request = asked()
    request.sampling.response_format.type, request.sampling.response_format.regex = "regex", "a+"
    assert (await fails(outside, BadInput, "unsupported_parameter", request=request)).param == "headrace.regex"


async def test_unused_connections_are_closed(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(keep_alive=0.02)
    endpoint.act = says(response(completion()))
    await outside.ask()
    await asyncio.wait_for(endpoint.lost.wait(), 5)
    assert await outside.ask()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "ftp://x"}, "address"),
        ({"address": "http://user:pass@x/v1"}, "address"),
        ({"headers": {"Host": "x"}}, "set by the gateway"),
        ({"headers": {"x": "a\r\nb: c"}}, "headers"),
        ({"task": "embed"}, "dimensions"),
        ({"credentials": {"secret": "a"}, "headers": {"authorization": "b"}}, "already"),
    ],
)
def test_configs_that_cannot_be(options: dict[str, Any], words: str) -> None:
    out = {"engine": "openai", "model": "m", "address": "http://127.0.0.1/v1"} | options
    with pytest.raises(Exception, match=words):
        parse(json.dumps({"deployments": {"out": out}}))
