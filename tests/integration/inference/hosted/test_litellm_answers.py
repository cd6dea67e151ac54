"""Answers of hosted providers, played from transcripts over real HTTP."""

from __future__ import annotations

import struct

import pytest
from inference_suite.hosted import ANSWER, LEVEL, LITELLM_WARNS, PIXEL, VENDORS, answer, asking, failure, text_of

from headrace_inference.ports import Generation, Sampling, ToolCall, Usage
from headrace_kit.errors import BadInput, Upstream

pytestmark = LITELLM_WARNS


# Answers


@pytest.mark.parametrize("vendor", VENDORS)
async def test_text_comes_in_pieces_then_one_reason_then_usage(vendor, provider, make):
    provider.answer = f"{vendor}/chat_stream"
    chunks = await answer(make(vendor))
    assert text_of(chunks) == ANSWER
    assert sum(1 for chunk in chunks if chunk.text) > 1
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.output_tokens == 9


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        ("openai/chat_length", "length"),
        ("openai/chat_filtered", "content_filter"),
        ("openai/tools_stream", "tool_calls"),
        ("anthropic/chat_length", "length"),
        ("anthropic/refusal", "content_filter"),
        ("anthropic/tools_stream", "tool_calls"),
        ("gemini/chat_length", "length"),
        ("gemini/safety", "content_filter"),
        ("gemini/tools_stream", "tool_calls"),
    ],
)
async def test_reasons_are_openais(recording, reason, provider, make):
    provider.answer = recording
    chunks = await answer(make(recording.split("/")[0]), asking(tools=(LEVEL,)))
    assert chunks[-1].finish_reason == reason


async def test_pieces_of_parallel_tool_calls_keep_their_places(provider, make):
    provider.answer = "openai/tools_stream"
    chunks = await answer(make("openai"), asking(tools=(LEVEL,), tool_choice="level", parallel_tool_calls=False))
    pieces = [call for chunk in chunks for call in chunk.tool_calls]
    assert pieces[0] == ToolCall(0, "call_DdmO9pD3", "level", "")
    made = {index: "".join(call.arguments for call in pieces if call.index == index) for index in (0, 1)}
    assert made == {0: '{"basin":"upper"}', 1: '{"basin":"lower"}'}
    sent = provider.seen[0].body
    assert sent["tools"] == [LEVEL]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "level"}}
    assert sent["parallel_tool_calls"] is False


async def test_tools_in_another_providers_words(provider, make):
    provider.answer = "anthropic/tools_stream"
    turns = (
        {"role": "user", "content": "How high is the water?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "level", "arguments": '{"basin":"upper"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12.5"},
    )
    chunks = await answer(make("anthropic"), Generation(messages=turns, sampling=Sampling(tools=(LEVEL,))))
    pieces = [call for chunk in chunks for call in chunk.tool_calls]
    assert pieces[0].name == "level"
    assert "".join(call.arguments for call in pieces) == '{"basin": "upper"}'
    sent = provider.seen[0].body
    assert sent["tools"][0]["name"] == "level"
    assert sent["messages"][2]["content"][0]["type"] == "tool_result"


async def test_reasoning_is_apart_from_the_answer(provider, make):
    provider.answer = "anthropic/thinking_stream"
    chunks = await answer(make("anthropic"))
    assert "".join(chunk.reasoning for chunk in chunks) == "Water runs downhill."
    assert text_of(chunks) == "Down."


async def test_log_probabilities(provider, make):
    provider.answer = "openai/logprobs_stream"
    chunks = await answer(make("openai"), asking(top_logprobs=2))
    assert [(chunk.tokens, chunk.sum_logprob, chunk.min_logprob) for chunk in chunks[:2]] == [
        (1, -0.25, -0.25),
        (1, -0.75, -0.75),
    ]
    assert chunks[0].logprobs[0].top == (("Yes", -0.25), ("No", -1.5))
    chunks = await answer(make("openai"), Generation(messages=asking().messages, want_stats=True))
    assert provider.seen[1].body["logprobs"] is True
    assert (chunks[0].logprobs, chunks[0].sum_logprob) == ((), -0.25)


async def test_several_answers_come_whole(provider, make):
    provider.answer = "openai/chat_two"
    chunks = await answer(make("openai"), asking(n=2))
    assert [(chunk.index, chunk.text) for chunk in chunks if chunk.text] == [(0, "North."), (1, "South.")]
    assert [(chunk.index, chunk.finish_reason) for chunk in chunks if chunk.finish_reason] == [(0, "stop"), (1, "stop")]
    assert chunks[-1].usage == Usage(input_tokens=11, output_tokens=6)


async def test_options_reach_the_provider(provider, make):
    provider.answer = "openai/chat_stream"
    schema = {"type": "json_schema", "json_schema": {"name": "level", "strict": True, "schema": {"type": "object"}}}
    wanted = asking(
        max_tokens=50, temperature=0.5, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.2, seed=7,
        stop=("END",), response_format=schema,
    )  # fmt: skip
    await answer(make("openai"), wanted)
    sent = provider.seen[0].body
    assert {name: sent[name] for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")} == {
        "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 7,
    }  # fmt: skip
    assert sent["stop"] == ["END"]
    assert sent["response_format"] == schema
    assert 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


async def test_the_deployments_limit_holds_where_a_request_names_none(provider, make):
    provider.answer = "anthropic/chat_stream"
    await answer(make("anthropic", max_output_tokens=77))
    assert provider.seen[0].body["max_tokens"] == 77


# Images and audio


async def test_images_reach_each_provider_in_its_words(provider, make):
    turn = {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    }
    for vendor in VENDORS:
        provider.answer = f"{vendor}/chat_stream"
        assert text_of(await answer(make(vendor, accepts=["image"]), Generation(messages=(turn,)))) == ANSWER
    openai, anthropic, gemini = (seen.body for seen in provider.seen)
    assert openai["messages"][0]["content"][1]["image_url"]["url"] == PIXEL
    assert anthropic["messages"][0]["content"][1]["source"]["media_type"] == "image/png"
    assert gemini["contents"][0]["parts"][1]["inline_data"]["mime_type"] == "image/png"


async def test_audio_reaches_the_provider(provider, make):
    provider.answer = "openai/chat_stream"
    part = {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}}
    turn = {"role": "user", "content": [part]}
    await answer(make("openai", accepts=["audio"]), Generation(messages=(turn,)))
    assert provider.seen[0].body["messages"][0]["content"] == [part]


@pytest.mark.parametrize("accepts", [[], ["audio"]])
async def test_a_part_that_the_model_does_not_take_is_refused_by_place(accepts, provider, make):
    turn = {
        "role": "user",
        "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    }
    engine = make("openai", accepts=accepts)
    with pytest.raises(BadInput) as caught:
        engine.check(Generation(messages=(turn,)))
    assert (caught.value.code, caught.value.param) == ("unsupported", "messages[0].content[1]")
    assert "text" in caught.value.message


async def test_an_address_of_an_image_never_reaches_the_library(provider, make):
    turn = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/x.png"}}]}
    error = await failure(make("anthropic", accepts=["image"]), Generation(messages=(turn,)))
    assert (type(error), error.param) == (BadInput, "messages[0].content[0].image_url")
    assert provider.seen == []


# Prompt caches


async def test_cached_tokens_are_part_of_the_input(provider, make):
    provider.answer = "anthropic/cache_write"
    written = (await answer(make("anthropic")))[-1].usage
    assert written == Usage(input_tokens=1812, cache_write_input_tokens=1800, output_tokens=9)
    provider.answer = "anthropic/cache_read"
    read = (await answer(make("anthropic")))[-1].usage
    assert read == Usage(input_tokens=1812, cached_input_tokens=1800, output_tokens=9)
    provider.answer = "openai/chat_stream"
    usage = (await answer(make("openai")))[-1].usage
    assert usage == Usage(input_tokens=1200, cached_input_tokens=1024, output_tokens=9, reasoning_tokens=4)


MARK = {"type": "ephemeral"}


async def test_marks_are_added_passed_or_removed(provider, make):
    provider.answer = "anthropic/chat_stream"
    await answer(make("anthropic", prompt_caching="mark_system"))
    assert provider.seen[-1].body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    marked = {"role": "user", "content": [{"type": "text", "text": "?", "cache_control": MARK}]}
    await answer(make("anthropic"), Generation(messages=(marked,)))
    assert provider.seen[-1].body["messages"][0]["content"][0]["cache_control"] == MARK
    await answer(make("anthropic", prompt_caching="none"), Generation(messages=(marked,)))
    assert "cache_control" not in str(provider.seen[-1].body)
    assert marked["content"][0]["cache_control"] == MARK  # the caller's own messages stay as they were


# Embeddings


async def test_vectors_are_normalised_and_in_order(provider, make):
    provider.answer = "openai/embeddings"
    engine = make("openai", model="openai/text-embedding-3-small", task="embed", dimensions=4)
    found = await engine.embed(["one", "two"], truncate=False)
    assert [struct.unpack("<4f", vector) for vector in found.vectors] == [
        pytest.approx((0.6, 0, 0.8, 0)),
        pytest.approx((0, 1, 0, 0)),
    ]
    assert found.usage == Usage(input_tokens=8)
    assert provider.seen[0].body["input"] == ["one", "two"]
    assert provider.seen[0].body["dimensions"] == 4


async def test_vectors_of_another_length_than_configured_are_an_error(provider, make):
    provider.answer = "openai/embeddings"
    engine = make("openai", model="openai/text-embedding-3-small", task="embed", dimensions=8)
    with pytest.raises(Upstream) as caught:
        await engine.embed(["one", "two"], truncate=False)
    assert caught.value.code == "engine_misconfigured"


async def test_long_texts_are_cut_when_asked(provider, make):
    provider.answer = "openai/embeddings"
    engine = make("openai", model="openai/text-embedding-3-small", task="embed", dimensions=4, context_tokens=256)
    await engine.embed(["water " * 1000, "two"], truncate=True)
    long, short = provider.seen[0].body["input"]
    assert 256 <= len(long.split()) <= 257
    assert short == "two"


async def test_an_embedding_model_does_not_generate(make):
    engine = make("openai", model="openai/text-embedding-3-small", task="embed", dimensions=4)
    assert (await failure(engine)).code == "unsupported"
    with pytest.raises(BadInput):
        await make("openai").embed(["one"], truncate=False)
