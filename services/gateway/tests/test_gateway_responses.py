"""`POST /v1/responses`: what reaches the engine, and what comes back, whole and as events."""

from __future__ import annotations

import json

import httpx
import pytest

from headrace_gateway.fakes import Script
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.chat_pb2 import ToolCall

HI = {"model": "plain", "input": "hi"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
CALLS = [
    ToolCall(index=0, id="call_1", name="weather", arguments='{"at":'),
    ToolCall(index=0, arguments='"Porto"}'),
    ToolCall(index=1, id="call_2", name="weather", arguments="{}"),
]


async def post(rig, body):
    transport = httpx.ASGITransport(AsgiFace(rig.application()))
    headers = {"authorization": "Bearer hr_dev"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as http:
        return await http.post("/v1/responses", json=body)


async def events(rig, body):
    """The events of a streamed response; the framing of each is exact."""
    answer = await post(rig, {**body, "stream": True})
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
    assert answer.text.endswith("\n\n")
    found = []
    for block in answer.text[:-2].split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: ")
        found.append(json.loads(data[6:]))
        assert found[-1]["type"] == name[7:]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


async def test_a_whole_response(rig):
    answer = await post(rig, {**HI, "instructions": "be brief", "metadata": {"k": "v"}, "temperature": 0.5})
    body = answer.json()
    assert (body["object"], body["status"], body["store"], body["error"]) == ("response", "completed", False, None)
    [item] = body["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 11,
    }
    assert (body["instructions"], body["metadata"], body["temperature"]) == ("be brief", {"k": "v"}, 0.5)
    assert body["id"] == "resp_" + body["headrace"]["request_id"] and body["headrace"]["deployment"] == "small"
    messages = rig.engine.calls[0].request.messages
    assert [(message.role, message.parts[0].text) for message in messages] == [("system", "be brief"), ("user", "hi")]
    assert rig.closed()[0].operation == "response"


async def test_events_of_a_text(rig):
    rig.engine.scripts["small"] = [Script(["Hel", 'lo "\n'])]
    found = await events(rig, HI)
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert found[2]["item"]["content"] == [] and found[2]["item"]["status"] == "in_progress"
    assert "".join(event["delta"] for event in found[4:6]) == found[6]["text"] == 'Hello "\n'
    assert {event["item_id"] for event in found[3:8]} == {found[2]["item"]["id"]}
    final = found[-1]["response"]
    assert final["output"] == [found[-2]["item"]] and final["output"][0]["content"][0]["text"] == 'Hello "\n'
    assert final["usage"]["output_tokens"] == 2 and final["headrace"]["cost_usd"] == "0.000014"
    assert found[0]["response"]["status"] == "in_progress" and found[0]["response"]["usage"] is None


async def test_events_of_calls(rig):
    rig.engine.scripts["small"] = [Script(["Let me see"], tool_calls=CALLS, finish="tool_calls")]
    found = await events(rig, {**HI, "tools": [TOOL]})
    deltas = [event for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert [(event["output_index"], event["delta"]) for event in deltas] == [
        (1, '{"at":'), (1, '"Porto"}'), (2, "{}"),
    ]  # fmt: skip
    done = [event for event in found if event["type"] == "response.function_call_arguments.done"]
    assert [(event["name"], event["arguments"]) for event in done] == [("weather", '{"at":"Porto"}'), ("weather", "{}")]
    text, first, second = found[-1]["response"]["output"]
    assert text["content"][0]["text"] == "Let me see"
    assert (first["call_id"], first["name"], first["arguments"]) == ("call_1", "weather", '{"at":"Porto"}')
    assert second["call_id"] == "call_2"
    whole = (await post(rig, {**HI, "tools": [TOOL]})).json()
    assert [item["type"] for item in whole["output"]] == ["message", "function_call", "function_call"]
    assert whole["output"][1]["arguments"] == '{"at":"Porto"}' and whole["tools"][0]["name"] == "weather"


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_is_not_whole_says_why(rig, finish, reason):
    rig.engine.scripts["small"] = [Script(["half"], finish=finish)]
    body = (await post(rig, HI)).json()
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": reason})
    found = await events(rig, HI)
    assert found[-1]["type"] == "response.incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert found[-2]["item"]["status"] == "incomplete"


async def test_an_answer_of_nothing_is_an_empty_message(rig):
    rig.engine.scripts["small"] = [Script([])]
    assert (await post(rig, HI)).json()["output"][0]["content"][0]["text"] == ""
    final = (await events(rig, HI))[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == ""


async def test_a_policy_that_blocks_leaves_no_text(rig):
    rig.engine.scripts["small"] = [Script(["a bluebird"])]
    body = (await post(rig, {**HI, "model": "guarded"})).json()
    assert body["incomplete_details"] == {"reason": "content_filter"} and body["output"] == []


async def test_an_error_in_the_middle_fails_the_response(rig):
    rig.engine.scripts["small"] = [Script(["half"], error=Upstream("the engine died"))]
    last = (await events(rig, HI))[-1]
    assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "the engine died"}
    assert last["response"]["output"][0]["content"][0]["text"] == "half"
    assert rig.left[0].error == "upstream_failed"


async def test_items_become_turns(rig):
    items = [
        {"role": "developer", "content": "rules"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": "commentary",
            "content": [{"type": "output_text", "text": "Let me see", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]  # fmt: skip
    assert (await post(rig, {**HI, "input": items, "tools": [TOOL]})).status_code == 200
    turns = rig.engine.calls[0].request.messages
    assert [turn.role for turn in turns] == ["developer", "user", "assistant", "tool", "tool"]
    assert turns[2].parts[0].text == "Let me see"
    assert [(call.index, call.id, call.name) for call in turns[2].tool_calls] == [
        (0, "c1", "weather"), (1, "c2", "weather"),
    ]  # fmt: skip
    assert [(turn.tool_call_id, turn.parts[0].text) for turn in turns[3:]] == [("c1", "sun"), ("c2", "rain")]


async def test_all_of_a_request_reaches_the_engine(rig):
    body = {
        **HI, "max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"], "tools": [TOOL, {**TOOL, "name": "other"}],
        "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}, "verbosity": "medium"},
        "reasoning": {"effort": None, "summary": "auto"}, "store": False, "truncation": "disabled",
        "service_tier": "auto", "background": False, "user": "u", "safety_identifier": "s", "prompt_cache_key": "p",
    }  # fmt: skip
    answer = await post(rig, body)
    assert answer.status_code == 200, answer.text
    sampling = rig.engine.calls[0].request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_logprobs) == (7, 0.5, 0.9, 2)
    assert (sampling.tool_choice, sampling.parallel_tool_calls, len(sampling.tools)) == ("weather", False, 2)
    assert (sampling.response_format.type, sampling.response_format.schema_json) == ("json_schema", '{"type":"object"}')
    shown = answer.json()
    assert shown["text"]["format"]["name"] == "s" and shown["tool_choice"] == {"type": "function", "name": "weather"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    await post(rig, {**body, "tool_choice": allowed})
    sampling = rig.engine.calls[1].request.sampling
    assert ([tool.name for tool in sampling.tools], sampling.tool_choice) == (["other"], "required")


WRONG = [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": ["hi"]}, "input[0]"),
    ({"input": [{"type": "reasoning"}]}, "input"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"role": "cat", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]}, "input[0].content[0]"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "input[0].call_id"),
    ({"input": [{"role": "user", "content": "x", "foo": 1}]}, "input[0].foo"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
    ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"store": True}, "store"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "c"}, "conversation"),
    ({"background": True}, "background"),
    ({"truncation": "auto"}, "truncation"),
    ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"stream_options": {"include_obfuscation": True}, "stream": True}, "stream_options.include_obfuscation"),
    ({"stream_options": {}}, "stream_options"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"n": 2}, "n"),
]


@pytest.mark.parametrize(("change", "param"), WRONG)
async def test_a_bad_field_is_named(rig, change, param):
    answer = await post(rig, {**HI, **change})
    assert answer.status_code == 400 and rig.engine.calls == []
    error = answer.json()["error"]
    assert error["param"].startswith(param) and error["message"]


async def test_a_block_names_the_callers_own_field(rig):
    items = [{"role": "user", "content": "fine"}, {"role": "user", "content": "a bluebird"}]
    answer = await post(rig, {"model": "guarded", "instructions": "x", "input": items})
    assert answer.json()["error"]["param"] == "input[1].content"
