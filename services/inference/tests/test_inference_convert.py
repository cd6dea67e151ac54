"""Between protos and the domain's types."""

from __future__ import annotations

import pytest

from headrace_inference.grpc_api.convert import chunk_proto, generation_of, response_of
from headrace_inference.ports import Chunk, ToolCall, Usage
from headrace_kit.errors import BadInput
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1 import messages_pb2 as pb


def asked(*parts: chat_pb2.ContentPart, **fields) -> pb.GenerateRequest:
    return pb.GenerateRequest(deployment="d", messages=[chat_pb2.Message(role="user", parts=parts)], **fields)


def text(value: str) -> chat_pb2.ContentPart:
    return chat_pb2.ContentPart(text=value)


def image(**fields) -> chat_pb2.ContentPart:
    return chat_pb2.ContentPart(image=chat_pb2.ImagePart(**fields))


def audio(**fields) -> chat_pb2.ContentPart:
    return chat_pb2.ContentPart(audio=chat_pb2.AudioPart(**fields))


def test_text_is_one_string_and_other_parts_have_openais_shapes():
    assert generation_of(asked(text("a"), text("b")), "t").messages[0]["content"] == "ab"
    mixed = generation_of(asked(text("what is this"), image(url="http://x/y.png"), audio(data=b"\0\1")), "t")
    assert mixed.messages[0]["content"] == [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "auto"}},
        {"type": "input_audio", "input_audio": {"data": "AAE=", "format": "wav"}},
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (image(), "messages[0].content[1].image_url.url"),
        (audio(format="mp3"), "messages[0].content[1].input_audio.data"),
        (chat_pb2.ContentPart(), "messages[0].content[1]"),
    ],
)
def test_an_empty_part_is_named(part, param):
    with pytest.raises(BadInput) as refused:
        generation_of(asked(text("x"), part), "t")
    assert refused.value.param == param


def test_tenant_and_adapter_travel():
    found = generation_of(asked(text("x"), adapter="legal", priority=3), "team")
    assert (found.tenant, found.adapter, found.priority) == ("team", "legal", 3)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "regex", "regex": "a+"}, {"type": "regex", "regex": "a+"}),
        (
            {"type": "json_schema", "name": "n", "schema_json": '{"type": "object"}'},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        ),
    ],
)
def test_response_formats(wanted, found):
    sampling = chat_pb2.Sampling(response_format=chat_pb2.ResponseFormat(**wanted))
    assert generation_of(asked(text("x"), sampling=sampling), "t").sampling.response_format == found


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"type": "regex"}, "response_format.regex"),
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema", "schema_json": "{"}, "response_format.json_schema.schema"),
        ({"type": "json_schema", "schema_json": "[]"}, "response_format.json_schema.schema"),
    ],
)
def test_a_bad_response_format_is_named(wanted, param):
    sampling = chat_pb2.Sampling(response_format=chat_pb2.ResponseFormat(**wanted))
    with pytest.raises(BadInput) as refused:
        generation_of(asked(text("x"), sampling=sampling), "t")
    assert refused.value.param == param


def test_a_chunk_carries_what_it_has_and_a_whole_answer_puts_the_pieces_together():
    chunks = [
        Chunk(text="a", tokens=1, sum_logprob=-0.5, min_logprob=-0.5),
        Chunk(index=1, tool_calls=(ToolCall(0, "id", "f", "{"),), tokens=2, sum_logprob=-1.0, min_logprob=-0.75),
        Chunk(text="b", reasoning="why", finish_reason="stop", tokens=1, sum_logprob=-2.0, min_logprob=-2.0),
        Chunk(index=1, tool_calls=(ToolCall(0, "", "", "}"),), finish_reason="tool_calls"),
        Chunk(usage=Usage(5, 2, 4, draft_tokens=3, accepted_draft_tokens=1, cache_write_input_tokens=1)),
    ]
    first = chunk_proto(chunks[0])
    assert (first.text, first.stats.tokens, first.stats.min_logprob) == ("a", 1, -0.5)
    assert not first.HasField("usage")
    assert not chunk_proto(chunks[3]).HasField("stats")
    assert chunk_proto(chunks[4]).usage.cache_write_input_tokens == 1
    whole = response_of(chunks)
    assert [(choice.text, choice.finish_reason) for choice in whole.choices] == [("ab", "stop"), ("", "tool_calls")]
    assert (whole.choices[0].stats.sum_logprob, whole.choices[0].stats.min_logprob) == (-2.5, -2.0)
    assert whole.choices[1].tool_calls[0].arguments == "{}"
    assert (whole.usage.input_tokens, whole.usage.accepted_draft_tokens) == (5, 1)


def test_tokens_without_log_probabilities_have_no_least_one():
    chunks = [Chunk(text="a", tokens=2), Chunk(finish_reason="stop", usage=Usage(1, 0, 2))]
    stats = chunk_proto(chunks[0]).stats
    assert (stats.tokens, stats.HasField("min_logprob")) == (2, False)
    assert not response_of(chunks).choices[0].stats.HasField("min_logprob")
    sure = chunk_proto(Chunk(text="a", tokens=1, min_logprob=0.0)).stats
    assert sure.HasField("min_logprob")
