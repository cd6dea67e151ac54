"""Every field of the requests of OpenAI's own SDK: honoured, or refused by name."""

from __future__ import annotations

from typing import get_type_hints

import httpx
import msgspec
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params

from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.chat_schema import ChatBody, CompletionBody
from headrace_gateway.http_api.refused import HARMLESS, refuse, unsupported
from headrace_gateway.http_api.responses_schema import ReasoningConfig, ResponsesBody, TextConfig
from headrace_gateway.http_api.vectors import EmbedBody, RerankBody
from headrace_kit.errors import BadInput

PAIRS = [
    (ChatBody, chat_params.CompletionCreateParamsNonStreaming),
    (CompletionBody, completion_create_params.CompletionCreateParamsNonStreaming),
    (ResponsesBody, response_create_params.ResponseCreateParamsNonStreaming),
    (EmbedBody, embedding_create_params.EmbeddingCreateParams),
]


@pytest.mark.parametrize(("body", "params"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_sdk_is_known(body, params):
    ours = {field.encode_name for field in msgspec.structs.fields(body)}
    assert set(get_type_hints(params)) - ours == set()


REQUIRED = {"model": "m", "messages": [], "prompt": "p", "input": "i", "query": "q", "documents": []}


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody, ResponsesBody, TextConfig, ReasoningConfig, RerankBody])
def test_a_field_that_is_not_supported_is_named(kind):
    given = {field.name: REQUIRED[field.name] for field in msgspec.structs.fields(kind) if field.required}
    assert unsupported(kind)
    for name in unsupported(kind):
        with pytest.raises(BadInput) as refused:
            refuse(kind(**given, **{name: "something"}), "here")
        assert refused.value.param == f"here.{name}" and refused.value.code == "unsupported_parameter"
        for value in (None, *HARMLESS.get(name, ())):
            refuse(kind(**given, **{name: value}))


def client(rig):
    transport = httpx.ASGITransport(AsgiFace(rig.application()))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers={"authorization": "Bearer hr_dev"})


HI = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}


async def test_what_asks_for_nothing_passes(rig):
    body = {
        **HI, "store": False, "service_tier": "default", "verbosity": "medium", "modalities": ["text"],
        "logit_bias": {}, "prompt_cache_key": "k", "safety_identifier": "s", "metadata": {"a": "b"},
    }  # fmt: skip
    async with client(rig) as http:
        answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text


async def test_allowed_tools_are_all_that_the_model_sees(rig):
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]},
    }
    async with client(rig) as http:
        await http.post("/v1/chat/completions", json={**HI, "tools": [TOOL, OTHER], "tool_choice": choice})
        wrong = await http.post("/v1/chat/completions", json={**HI, "tools": [TOOL], "tool_choice": choice})
    sampling = rig.engine.calls[0].request.sampling
    assert ([tool.name for tool in sampling.tools], sampling.tool_choice) == (["g"], "required")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "tool_choice")


async def test_a_refusal_of_an_assistant_is_its_words(rig):
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
        {"role": "user", "content": "y"},
    ]
    async with client(rig) as http:
        assert (await http.post("/v1/chat/completions", json={**HI, "messages": turns})).status_code == 200
    messages = rig.engine.calls[0].request.messages
    assert [[part.text for part in message.parts] for message in messages] == [["x"], ["no"], ["never"], ["y"]]


async def test_completions_echo_and_best_of(rig):
    body = {"model": "plain", "prompt": "say: ", "echo": True, "n": 1, "best_of": 1}
    async with client(rig) as http:
        assert (await http.post("/v1/completions", json=body)).json()["choices"][0]["text"] == "say: hello"
        streamed = await http.post("/v1/completions", json={**body, "stream": True})
        texts = [
            msgspec.json.decode(line[6:])["choices"][0]["text"]
            for line in streamed.text.split("\n\n")
            if line.startswith("data: {")
        ]
        assert texts == ["say: ", "hello", ""]
        for field, value in (("best_of", 3), ("suffix", "!"), ("logit_bias", {"5": 1}), ("logprobs", 6)):
            answer = await http.post("/v1/completions", json={**body, field: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
        answer = await http.post("/v1/completions", json={**body, "logprobs": 1})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "echo")
        for prompt in (["a", "b"], [1, 2], [[1]], "", []):
            answer = await http.post("/v1/completions", json={"model": "plain", "prompt": prompt})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
