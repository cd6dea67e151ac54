"""Images, audio, and forms of answers beyond OpenAI's, through the official SDK on a real port."""

from __future__ import annotations

import base64
import socket

import httpx
import openai
import pytest

from headrace_gateway.calls import GenerateCall
from headrace_gateway.fakes import Script
from headrace_gateway.grpc_api.read import read_generate
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_kit.errors import BadInput
from headrace_kit.hosting.http import HttpServer
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2 as pb

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/bluebird.png", "detail": "low"}}
WAV = base64.b64encode(b"RIFF$...WAVEfmt ").decode()
AUDIO = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
TEXT = {"type": "text", "text": "What is it?"}


def turn(*parts):
    return [{"role": "user", "content": list(parts)}]


@pytest.fixture
async def sdk(rig):
    """The official client on the application behind granian."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = HttpServer(RsgiFace(rig.application()).__rsgi__, "127.0.0.1", port)
    await server.start()
    made = openai.AsyncOpenAI(
        api_key="hr_dev",
        base_url=f"http://127.0.0.1:{port}/v1",
        max_retries=20,
        http_client=httpx.AsyncClient(trust_env=False),
    )
    try:
        async with made:
            await made.models.list()  # tries until the server is up
            yield made.with_options(max_retries=0)
    finally:
        await server.stop()


async def test_images_and_audio_reach_an_engine_that_takes_them(rig, sdk):
    answer = await sdk.chat.completions.create(model="seeing", messages=turn(TEXT, IMAGE, AUDIO))
    assert answer.choices[0].message.content == "hello"
    [call] = rig.engine.calls
    text, image, audio = call.request.messages[0].parts
    assert text.text == "What is it?"
    assert (image.image.url, image.image.detail) == ("https://example.com/bluebird.png", "low")
    assert (audio.audio.data, audio.audio.format) == (base64.b64decode(WAV), "wav")


@pytest.mark.parametrize(
    ("model", "part", "says"),
    [
        ("plain", IMAGE, "takes text only, not image"),
        ("plain", AUDIO, "takes text only, not audio"),
        ("glimpsing", IMAGE, "takes text only, not image"),  # its fallback could not answer
    ],
)
async def test_a_part_that_a_model_does_not_take_is_refused_by_place(model, part, says, rig, sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model=model, messages=turn(TEXT, part))
    assert says in caught.value.message
    assert (caught.value.param, caught.value.code) == ("messages[0].content[1]", "unsupported_content")
    assert rig.engine.calls == []


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "file", "file": {"file_id": "f"}}, "messages[0].content[0]"),
        (AUDIO | {"input_audio": {"data": "*", "format": "wav"}}, "messages[0].content[0].input_audio.data"),
        (AUDIO | {"input_audio": {"data": WAV, "format": "ogg"}}, "messages[0].content[0].input_audio.format"),
        (IMAGE | {"image_url": {"url": ""}}, "messages[0].content[0].image_url.url"),
        (IMAGE | {"image_url": {"url": "data:,", "detail": "huge"}}, "messages[0].content[0].image_url.detail"),
    ],
)
async def test_a_malformed_part_is_named(part, param, sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="seeing", messages=turn(part))
    assert caught.value.param == param


async def test_text_is_guarded_and_images_pass(rig, sdk):
    # The image's address holds a word that the policy blocks in texts.
    asked = {"model": "seeing", "extra_body": {"headrace": {"guardrails": "standard"}}}
    await sdk.chat.completions.create(messages=turn({"type": "text", "text": "mail bob@example.com"}, IMAGE), **asked)
    text, image = rig.engine.calls[0].request.messages[0].parts
    assert "bob@" not in text.text
    assert image.image.url == IMAGE["image_url"]["url"]
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(messages=turn(IMAGE, {"type": "text", "text": "a bluebird"}), **asked)
    assert caught.value.code == "content_filter"


async def test_an_answer_by_a_regex(rig, sdk):
    extra = {"headrace": {"regex": "[0-9]{4}"}}
    await sdk.chat.completions.create(model="plain", messages=turn(TEXT), extra_body=extra)
    form = rig.engine.calls[0].request.sampling.response_format
    assert (form.type, form.regex) == ("regex", "[0-9]{4}")
    await sdk.completions.create(model="plain", prompt="In the year", extra_body=extra)
    assert rig.engine.calls[1].request.sampling.response_format.regex == "[0-9]{4}"
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(
            model="plain", messages=turn(TEXT), response_format={"type": "json_object"}, extra_body=extra
        )
    assert caught.value.param == "headrace.regex"


async def test_pieces_of_tool_calls_reach_the_sdk(rig, sdk):
    pieces = [
        chat_pb2.ToolCall(index=0, id="c1", name="level", arguments=""),
        chat_pb2.ToolCall(index=0, arguments='{"basin":'),
        chat_pb2.ToolCall(index=0, arguments='"upper"}'),
        chat_pb2.ToolCall(index=1, id="c2", name="level", arguments="{}"),
    ]
    rig.engine.scripts["small"] = [Script([], finish="tool_calls", tool_calls=pieces)]
    tool = {"type": "function", "function": {"name": "level"}}
    chunks = await sdk.chat.completions.create(model="plain", messages=turn(TEXT), tools=[tool], stream=True)
    made: dict[int, list[str]] = {}
    finishes = []
    async for chunk in chunks:
        for choice in chunk.choices:
            finishes.append(choice.finish_reason)
            for call in choice.delta.tool_calls or ():
                seen = made.setdefault(call.index, ["", "", ""])
                for place, piece in enumerate((call.id, call.function.name, call.function.arguments)):
                    seen[place] += piece or ""
    assert made == {0: ["c1", "level", '{"basin":"upper"}'], 1: ["c2", "level", "{}"]}
    assert finishes[-1] == "tool_calls" and set(finishes[:-1]) == {None}


# The same over gRPC


def over_grpc(*parts: chat_pb2.ContentPart, **sampling) -> GenerateCall:
    message = chat_pb2.Message(role="user", parts=parts)
    request = pb.GenerateRequest(model="seeing", messages=[message], sampling=chat_pb2.Sampling(**sampling))
    return read_generate(request, stream=False)


def test_parts_over_grpc():
    image = chat_pb2.ContentPart(image=chat_pb2.ImagePart(url="data:,"))
    audio = chat_pb2.ContentPart(audio=chat_pb2.AudioPart(data=b"RIFF", format="wav"))
    assert list(over_grpc(image, audio).messages[0].parts) == [image, audio]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (chat_pb2.ContentPart(), "messages[0].parts[0]"),
        (chat_pb2.ContentPart(image=chat_pb2.ImagePart()), "messages[0].parts[0].image"),
        (chat_pb2.ContentPart(image=chat_pb2.ImagePart(url="x", detail="huge")), "messages[0].parts[0].image"),
        (chat_pb2.ContentPart(audio=chat_pb2.AudioPart(data=b"a", format="ogg")), "messages[0].parts[0].audio"),
    ],
)
def test_a_malformed_part_over_grpc_is_named(part, param):
    with pytest.raises(BadInput) as caught:
        over_grpc(part)
    assert caught.value.param == param


@pytest.mark.parametrize(("kind", "regex"), [("regex", ""), ("text", "a"), ("regex", "a" * 5000)])
def test_a_regex_over_grpc_goes_with_its_type(kind, regex):
    text = chat_pb2.ContentPart(text="hi")
    assert over_grpc(text, response_format=chat_pb2.ResponseFormat(type="regex", regex="a")).sampling
    with pytest.raises(BadInput) as caught:
        over_grpc(text, response_format=chat_pb2.ResponseFormat(type=kind, regex=regex))
    assert caught.value.param == "sampling.response_format.regex"
