"""What llama.cpp is asked, and what its events become."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from headrace_inference.triton_models.llamacpp.answer import Answer, events
from headrace_inference.triton_models.llamacpp.translate import engine_request, error_of
from headrace_inference.triton_models.shared.answer_stream import AnswerStream
from headrace_inference.triton_models.shared.failures import RequestFailed

SETTINGS = {
    "slots": 2,
    "max_output_tokens": 99,
    "tool_parser": "auto",
    "prefix_caching": True,
    "adapters": {"legal": {"path": "l", "scale": 0.5}, "kind": {"path": "k", "scale": 1.0}},
}
HERMES = "{% if tools %}<tool_call>{% endif %}"
USER = {"role": "user", "content": "x"}


def tool(name: str, **function) -> dict:
    return {"type": "function", "function": {"name": name, **function}}


def ask(document: dict, settings: dict | None = None, template: str = HERMES):
    return engine_request({"messages": [USER], **document}, {**SETTINGS, **(settings or {})}, lambda: template)


def refused(document: dict, settings: dict | None = None, template: str = HERMES) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        ask(document, settings, template)
    return caught.value


def answered(request, *lines: dict, top: int = 0, logprobs: bool = False):
    """The chunks, and the answer, of an engine that sends `lines`."""
    sent: list[dict] = []
    stream = AnswerStream(lambda data: sent.append(json.loads(data)), flush_s=60)
    stream.logprobs = logprobs
    answer = Answer(stream, request, top)
    for line in lines:
        answer.take(line)
    stream.end(answer.usage())
    return sent, answer


def piece(text: str, finish: str | None = None, index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


def test_a_chat_becomes_openai_fields():
    request = ask({"seed": 7, "want_stats": True, "temperature": 0, "stop": ["a"], "frequency_penalty": 0.5})
    assert request.path == "/v1/chat/completions"
    body = request.body
    assert (body["seed"], body["max_tokens"], body["temperature"], body["stop"]) == (7, 99, 0, ["a"])
    assert (body["frequency_penalty"], body["cache_prompt"]) == (0.5, True)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    assert not {"grammar", "tools", "chat_template_kwargs"} & set(body)


def test_a_bare_prompt_becomes_a_completion():
    document = {"prompt": "x", "max_tokens": 3}
    request = engine_request(document, {**SETTINGS, "prefix_caching": False}, lambda: "")
    assert (request.path, request.body["prompt"], request.body["max_tokens"]) == ("/v1/completions", "x", 3)
    assert request.body["cache_prompt"] is False
    assert "logprobs" not in request.body


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**63 - 1, -(2**63)])
def test_every_seed_is_one_that_gives_the_same_text_again(seed):
    assert 0 <= ask({"seed": seed}).body["seed"] < 0xFFFFFFFF


def test_an_adapter_is_scaled_and_the_others_are_off():
    assert ask({"adapter": "legal"}).body["lora"] == [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 0.0}]
    assert ask({}).body["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    assert "lora" not in ask({}, {"adapters": {}}).body


def test_an_unknown_adapter_is_refused_with_the_known_ones():
    error = refused({"adapter": "medical"})
    assert (error.code, error.param) == ("unsupported", "adapter")
    assert "kind, legal" in error.message


def test_what_this_engine_cannot_do_is_refused_by_name():
    assert (refused({"n": 3}).code, refused({"n": 3}).param) == ("unsupported", "n")
    image = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]}
    error = refused({"messages": [USER, image]})
    assert (error.code, error.param) == ("unsupported", "messages[1].content[1]")
    assert refused({"tools": [tool("f")]}, {"tool_parser": "none"}).param == "tools"
    assert refused({"response_format": {"type": "xml"}}).param == "response_format.type"


def test_a_model_that_knows_tools_is_told_of_them_by_its_template():
    body = ask({"tools": [tool("f"), tool("g")]}).body
    assert [entry["function"]["name"] for entry in body["chat_template_kwargs"]["tools"]] == ["f", "g"]
    assert body["messages"] == [USER]
    assert "grammar" not in body, "free text is free"


def test_a_model_that_knows_no_tools_is_told_of_them_in_the_system_prompt():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "system", "content": "Be kind."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    told = ask({"messages": messages, "tools": [tool("f", description="Does f")]}, template="plain").body["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert told[0]["content"].startswith("Be kind.\n\n# Tools")
    assert "Does f" in told[0]["content"]
    assert told[2]["content"] == '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    assert told[3]["content"] == "<tool_response>\n42\n</tool_response>"


def test_a_template_with_a_form_of_its_own_is_left_to_llamacpp_where_it_can_do_the_rest():
    tools = [tool("f")]
    assert ask({"tools": tools}, template="{{ tools }}").body["tools"] == tools
    for more in ({"tool_choice": "required"}, {"want_stats": True}, {"response_format": {"type": "json_object"}}):
        request = ask({"tools": tools, **more}, template="{{ tools }}")
        assert "tools" not in request.body
        assert request.body["chat_template_kwargs"]["tools"] == tools
        assert request.offer.style == "json"


def test_a_named_tool_becomes_the_only_one_and_none_offers_none():
    tools = [tool("f"), tool("g")]
    body = ask({"tools": tools, "tool_choice": "g"}).body
    assert [entry["function"]["name"] for entry in body["chat_template_kwargs"]["tools"]] == ["g"]
    assert '\\"name\\": \\"g\\"' in body["grammar"]
    assert not {"grammar", "chat_template_kwargs"} & set(ask({"tools": tools, "tool_choice": "none"}).body)
    assert refused({"tools": tools, "tool_choice": "h"}).param == "tool_choice"


def test_a_tools_parameters_must_be_a_schema_where_they_constrain():
    bad = [tool("f"), tool("g", parameters={"type": "strange"})]
    error = refused({"tools": bad, "tool_choice": "required"})
    assert (error.code, error.param) == ("invalid_json_schema", "tools[1].function.parameters")
    assert refused({"tools": [{"type": "function"}]}).param == "tools[0]"


TOKEN = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": t, "logprob": -0.5} for t in "ab"]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_events_are_read_however_their_bytes_are_cut(cut):
    raw = 'data: {"a": "é"}\n\nerror: {"b": 2}\n\ndata: {"c": 3}\n\n'.encode()
    pieces = iter([raw[start : start + cut] for start in range(0, len(raw), cut)])
    response = SimpleNamespace(read1=lambda size: next(pieces, b""))
    assert list(events(response)) == [{"a": "é"}, {"error": {"b": 2}}, {"c": 3}]


def test_events_become_chunks_and_the_usage_of_all_choices():
    lines = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}], "prompt_progress": {}},
        {
            "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [TOKEN]}}],
            "timings": {"predicted_n": 1, "prompt_n": 1, "cache_n": 4},
        },
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}], "timings": {"predicted_n": 3}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE, "timings": {"draft_n": 8, "draft_n_accepted": 6}},
        {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}], "timings": {"predicted_n": 1}},
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": USAGE, "timings": {"draft_n": 1, "draft_n_accepted": 0}},
    ]
    raw = b"\n" + b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines) + b"data: [DONE]\n\n"
    read = events(io.BytesIO(raw + b"data: {never read\n"))
    sent, answer = answered(ask({}), *read, top=1, logprobs=True)
    assert answer.finished == {0, 1}
    assert answer.usage() == {
        "input_tokens": 5,
        "cached_input_tokens": 4,
        "output_tokens": 4,
        "reasoning_tokens": 2,
        "draft_tokens": 9,
        "accepted_draft_tokens": 6,
    }
    assert sent[0] == {
        "index": 0,
        "text": "a",
        "tokens": 1,
        "sum_logprob": -0.5,
        "min_logprob": -0.5,
        "logprobs": [{"token": "a", "logprob": -0.5, "top": [{"token": "a", "logprob": -0.5}]}],
        "prompt": {"input_tokens": 5, "cached_input_tokens": 4},
    }
    finished = {chunk["index"]: chunk["finish_reason"] for chunk in sent if "finish_reason" in chunk}
    assert finished == {0: "stop", 1: "length"}
    assert sum(chunk.get("tokens", 0) for chunk in sent if chunk["index"] == 0) == 3


def test_calls_of_each_choice_are_found_apart_and_change_its_finish_reason():
    request = ask({"tools": [tool("f")], "n": 2})
    sent, _ = answered(
        request,
        piece("<tool_"),
        piece("Hello", index=1),
        piece('call>\n{"name": "f", "argu'),
        piece('ments": {"a": 1}}\n</tool_call>'),
        piece("", "stop"),
        piece(" <", "stop", index=1),
        {"choices": [], "usage": USAGE},
    )
    texts = {index: "".join(chunk.get("text", "") for chunk in sent if chunk["index"] == index) for index in (0, 1)}
    assert texts == {0: "", 1: "Hello <"}
    calls = [call for chunk in sent for call in chunk.get("tool_calls", [])]
    assert [(call["index"], call["name"], json.loads(call["arguments"])) for call in calls] == [(0, "f", {"a": 1})]
    finished = {chunk["index"]: chunk["finish_reason"] for chunk in sent if "finish_reason" in chunk}
    assert finished == {0: "tool_calls", 1: "stop"}


def test_a_call_that_was_cut_is_text():
    request = ask({"tools": [tool("f")]})
    sent, _ = answered(
        request, piece('<tool_call>\n{"name": "f"'), piece("", "length"), {"choices": [], "usage": USAGE}
    )
    assert "".join(chunk.get("text", "") for chunk in sent) == '<tool_call>\n{"name": "f"'
    assert [chunk["finish_reason"] for chunk in sent if "finish_reason" in chunk] == ["length"]


def test_an_answer_that_leaves_its_format_is_an_error_and_not_a_surprise():
    request = ask({"response_format": {"type": "regex", "regex": "ab+"}})
    answered(request, piece("a"), piece("b", "stop"), {"choices": [], "usage": USAGE})
    for lines in ([piece("a"), piece("x")], [piece("a", "stop")]):
        with pytest.raises(RequestFailed) as caught:
            answered(request, *lines)
        assert caught.value.code == "engine_failed"
    answered(request, piece("a", "length"), {"choices": [], "usage": USAGE})


def test_errors_are_typed():
    code, _, param = error_of({"type": "exceed_context_size_error", "message": "m"}, {})
    assert (code, param) == ("context_length_exceeded", "messages")
    assert error_of({"type": "invalid_request_error"}, {"grammar": "g"})[::2] == ("invalid_request", "response_format")
    assert error_of({"type": "invalid_request_error"}, {})[::2] == ("invalid_request", None)
    assert error_of({}, {})[0] == "engine_failed"
