"""Answers that another engine began, and that an engine of ours goes on with."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from headrace_inference.adapters.litellm import request as litellm_request
from headrace_inference.adapters.openai_compatible.dialect import DIALECTS
from headrace_inference.adapters.openai_compatible.request import Requests
from headrace_inference.adapters.triton.wire import encode_generation
from headrace_inference.domain.validate import check_generation
from headrace_inference.grpc_api.convert import generation_of
from headrace_inference.ports import Generation, Sampling
from headrace_inference.triton_models.llamacpp.translate import engine_request
from headrace_kit.config.deployments import (
    LiteLlmDeployment,
    LlamaCppDeployment,
    ScriptedDeployment,
    ServerDeployment,
)
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

HELLO = ({"role": "user", "content": "Hello"},)
BEGUN = "Once upon a"
TURN = {"role": "assistant", "content": BEGUN}


def generation(**more) -> Generation:
    return Generation(**{"messages": HELLO, "continue_from": BEGUN, **more})


def test_the_beginning_reaches_the_engines_wire_format():
    message = Message(role="user", parts=[ContentPart(text="Hello")])
    made = generation_of(GenerateRequest(deployment="d", messages=[message], continue_from=BEGUN), "team")
    assert made.continue_from == BEGUN
    assert json.loads(encode_generation(made))["continue_from"] == BEGUN
    assert "continue_from" not in json.loads(encode_generation(generation(continue_from="")))


def test_llamacpp_goes_on_with_the_last_turn_or_the_prompt():
    settings = {"slots": 1, "max_output_tokens": 9}
    request = engine_request({"messages": [*HELLO], "continue_from": BEGUN}, settings, lambda: "")
    assert request.body["messages"] == [*HELLO, TURN]
    request = engine_request({"prompt": "Tell: ", "continue_from": BEGUN}, settings, lambda: "")
    assert request.body["prompt"] == "Tell: Once upon a"


@pytest.mark.parametrize(("engine", "flags"), [("vllm", {"add_generation_prompt": False}), ("sglang", {})])
def test_servers_are_told_that_the_last_turn_is_not_over(engine, flags):
    config = ServerDeployment(engine=engine, model="m", address="http://127.0.0.1:9")
    requests = Requests("d", config, DIALECTS[engine], b"key")
    _, body = requests.body(generation())
    assert body["messages"] == [*HELLO, TURN] and body["continue_final_message"] is True
    assert {name: body[name] for name in flags} == flags
    assert "continue_final_message" not in requests.body(generation(continue_from=""))[1]
    assert requests.body(generation(messages=(), prompt="Tell: "))[1]["prompt"] == "Tell: Once upon a"


def test_hosted_models_get_a_marked_turn():
    library = SimpleNamespace(
        get_llm_provider=lambda *_, **__: ("m", "mistral", None, None),
        get_supported_openai_params=lambda *_, **__: [],
    )
    config = LiteLlmDeployment(model="mistral/m", continues=True)
    made = litellm_request.arguments(generation(), config, library)
    assert made["messages"] == [*HELLO, {**TURN, "prefix": True}]


@pytest.mark.parametrize(
    "config",
    [
        LiteLlmDeployment(model="openai/gpt-5-mini"),
        ServerDeployment(engine="tgi", model="m", address="http://127.0.0.1:9"),
        ServerDeployment(engine="nim", model="m", address="http://127.0.0.1:9"),
    ],
)
def test_what_cannot_go_on_says_so(config):
    with pytest.raises(BadInput, match="cannot go on") as caught:
        check_generation(generation(), config, 8)
    assert (caught.value.param, caught.value.code) == ("continue_from", "unsupported")


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(n=2),
        Sampling(response_format={"type": "json_object"}),
        Sampling(tools=({"type": "function", "function": {"name": "f"}},)),
    ],
)
def test_an_answer_with_a_form_is_not_gone_on_with(sampling):
    config = LlamaCppDeployment(engine="llamacpp", model="m")
    with pytest.raises(BadInput, match="cannot be gone on with"):
        check_generation(generation(sampling=sampling), config, 8)
    assert not check_generation(generation(), config, 8)
    assert not check_generation(generation(), ScriptedDeployment(engine="triton-scripted"), 8)
