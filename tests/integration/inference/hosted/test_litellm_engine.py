"""Hosted providers by litellm, against transcripts played over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import aclosing, suppress

import pytest

from headrace_inference.ports import Chunk, Generation, Sampling, ToolCall, Usage
from headrace_kit.errors import BadInput, Blocked, Busy, HeadraceError, NotReady, Upstream

pytestmark = [  # litellm's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

KEY = "sk-test-0123456789abcdefsecret"
ANSWER = "The turbine is fed by a headrace."
LEVEL = {
    "type": "function",
    "function": {
        "name": "level",
        "description": "Level of a basin in metres.",
        "parameters": {"type": "object", "properties": {"basin": {"type": "string"}}, "required": ["basin"]},
    },
}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VENDORS = ("openai", "anthropic", "gemini")


def asking(text="What feeds the turbine?", system="Be brief.", **options):
    return Generation(
        messages=({"role": "system", "content": system}, {"role": "user", "content": text}),
        sampling=Sampling(**options),
    )


async def answer(engine, generation=None) -> list[Chunk]:
    async with aclosing(engine.generate(generation or asking())) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks):
    return "".join(chunk.text for chunk in chunks)


async def failure(engine, generation=None) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        await answer(engine, generation)
    return caught.value


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


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("vendor", "options", "param"),
    [
        ("openai", {"response_format": {"type": "regex", "regex": "[0-9]+"}}, "response_format"),
        ("openai", {"top_k": 5}, "top_k"),
        ("anthropic", {"seed": 1}, "seed"),
        ("anthropic", {"frequency_penalty": 0.5}, "frequency_penalty"),
        ("anthropic", {"top_logprobs": 1}, "logprobs"),
        ("anthropic", {"n": 2}, "n"),
    ],
)
async def test_what_a_model_does_not_take_is_refused_by_name(vendor, options, param, provider, make):
    with pytest.raises(BadInput) as caught:
        make(vendor).check(asking(**options))
    assert (caught.value.code, caught.value.param) == ("unsupported", param)
    assert provider.seen == []


async def test_neutral_values_ask_for_nothing(provider, make):
    provider.answer = "anthropic/chat_stream"
    await answer(make("anthropic"), asking(frequency_penalty=0, presence_penalty=0, n=1, top_p=1))
    assert "frequency_penalty" not in provider.seen[0].body


async def test_bare_prompts_and_adapters_are_refused(make):
    for generation, param in (
        (Generation(prompt="Once"), "prompt"),
        (Generation(messages=asking().messages, adapter="legal"), "adapter"),
    ):
        assert (await failure(make("openai"), generation)).param == param


# Errors


@pytest.mark.parametrize(
    ("recording", "kind", "code"),
    [
        ("openai/rate_limited", Busy, "engine_rate_limited"),
        ("openai/no_quota", Upstream, "engine_quota"),
        ("openai/unauthorized", Upstream, "engine_auth"),
        ("openai/too_long", BadInput, "context_length_exceeded"),
        ("openai/content_policy", Blocked, "content_filter"),
        ("openai/bad_request", BadInput, "engine_refused"),
        ("openai/no_model", Upstream, "engine_no_model"),
        ("openai/failed", Upstream, "engine_failed"),
        ("openai/chat_truncated", Upstream, "engine_failed"),
        ("openai/chat_error_mid_stream", Upstream, "engine_failed"),
        ("anthropic/rate_limited", Busy, "engine_rate_limited"),
        ("anthropic/unauthorized", Upstream, "engine_auth"),
        ("anthropic/too_long", BadInput, "context_length_exceeded"),
        ("anthropic/bad_request", BadInput, "engine_refused"),
        ("anthropic/overloaded", NotReady, "not_ready"),
        ("anthropic/failed", Upstream, "engine_failed"),
        ("anthropic/chat_truncated", Upstream, "engine_failed"),
        ("anthropic/error_mid_stream", Upstream, "engine_failed"),
        ("gemini/rate_limited", Busy, "engine_rate_limited"),
        ("gemini/unauthorized", Upstream, "engine_auth"),
        ("gemini/too_long", BadInput, "context_length_exceeded"),
        ("gemini/bad_request", BadInput, "engine_refused"),
        ("gemini/overloaded", NotReady, "not_ready"),
        ("gemini/failed", Upstream, "engine_failed"),
    ],
)
async def test_errors_of_providers_are_ours(recording, kind, code, provider, make):
    provider.answer = recording
    error = await failure(make(recording.split("/")[0]))
    assert (type(error), error.code) == (kind, code)
    assert KEY not in error.message
    assert "litellm" not in error.message
    assert len(provider.seen) == 1  # retries are the gateway's


@pytest.mark.parametrize(("vendor", "wait"), [("openai", 20), ("anthropic", 7), ("gemini", 12)])
async def test_a_rate_limit_says_when_to_come_back(vendor, wait, provider, make):
    provider.answer = f"{vendor}/rate_limited"
    assert (await failure(make(vendor))).retry_after_s == wait


async def test_the_callers_error_quotes_the_provider_without_keys(provider, make):
    provider.answer = "openai/bad_request"
    error = await failure(make("openai"))
    assert error.param == "response_format"
    assert "additionalProperties" in error.message
    assert "sk-test" not in error.message and "://" not in error.message


async def test_a_refused_key_is_named_and_not_shown(provider, make):
    provider.answer = "openai/unauthorized"
    error = await failure(make("openai"))
    assert "secret 'provider'" in error.message
    assert "sk-" not in error.message


@pytest.mark.parametrize("vendor", VENDORS)
async def test_silence_before_the_answer_ends(vendor, provider, make):
    provider.answer, provider.stop_after = f"{vendor}/chat_stream", 0
    error = await failure(make(vendor, timeout=1))
    assert (type(error), error.code) == (Upstream, "engine_timeout")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_silence_in_the_middle_ends(vendor, provider, make):
    provider.answer, provider.stop_after = f"{vendor}/chat_stream", 2
    error = await failure(make(vendor, timeout=1))
    assert (type(error), error.code) == (Upstream, "engine_timeout")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_connection_that_breaks_in_the_middle(vendor, provider, make):
    provider.answer, provider.stop_after, provider.then = f"{vendor}/chat_stream", 2, "reset"
    assert type(await failure(make(vendor))) is Upstream


async def test_nobody_listens(make):
    error = await failure(make("openai", address="http://127.0.0.1:9/v1"))
    assert (type(error), error.code) == (Upstream, "engine_failed")


# Leaving


@pytest.mark.parametrize("vendor", VENDORS)
async def test_closing_the_answer_closes_the_connection(vendor, provider, make):
    provider.answer, provider.stop_after = f"{vendor}/chat_stream", 6 if vendor == "anthropic" else 2
    chunks = make(vendor).generate(asking())
    assert (await anext(chunks)).text
    assert not provider.left.is_set()
    await chunks.aclose()
    await asyncio.wait_for(provider.left.wait(), 5)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("after", [0, 1])
async def test_cancelling_a_waiting_caller_closes_the_connection(vendor, after, provider, make):
    provider.answer, provider.stop_after = f"{vendor}/chat_stream", after
    task = asyncio.create_task(answer(make(vendor)))
    async with asyncio.timeout(10):
        while not provider.seen:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(provider.left.wait(), 5)


# Keys and health


async def test_a_rotated_key_is_used_at_once(provider, make, tmp_path):
    provider.answer = "openai/chat_stream"
    engine = make("openai")
    await answer(engine)
    (tmp_path / "provider").write_text("second")
    await answer(engine)
    assert [seen.headers["Authorization"] for seen in provider.seen] == [f"Bearer {KEY}", "Bearer second"]


async def test_a_missing_secret_is_named(provider, make, tmp_path):
    (tmp_path / "provider").unlink()
    engine = make("openai")
    state = await engine.health()
    assert state.state == "failed"
    assert "secret 'provider' of deployment 'hosted' is not set" in state.detail
    error = await failure(engine)
    assert (type(error), error.message) == (NotReady, state.detail)
    assert provider.seen == []


async def test_a_key_that_is_always_refused_takes_the_deployment_out_until_it_changes(provider, make, tmp_path):
    engine = make("openai")
    for recording, state in (("unauthorized", "ready"), ("rate_limited", "ready"), ("unauthorized", "ready")):
        provider.answer = f"openai/{recording}"
        await failure(engine)
        assert (await engine.health()).state == state
    for _ in range(2):
        await failure(engine)
    assert (await engine.health()).state == "failed"
    assert "refuses the key in secret 'provider'" in (await engine.health()).detail
    (tmp_path / "provider").write_text("second")
    assert (await engine.health()).state == "ready"


async def test_health_asks_the_provider_nothing(provider, make):
    engine = make("openai")
    await engine.load()
    assert (await engine.health()).state == "ready"
    assert provider.seen == []
    await engine.unload()
    assert (await engine.health()).state == "unloaded"
    assert type(await failure(engine)) is NotReady


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


# Quiet


async def test_prompts_and_keys_are_in_no_log_and_nothing_is_fetched(provider, make, caplog):
    caplog.set_level(logging.DEBUG)
    for recording in ("openai/chat_stream", "anthropic/failed", "gemini/bad_request"):
        provider.answer = recording
        engine = make(recording.split("/")[0])
        with suppress(HeadraceError):
            await answer(engine, asking(text="the secret of the spring"))
    assert "secret of the spring" not in caplog.text
    assert KEY not in caplog.text
    # The list of models came from the package.
    from litellm.litellm_core_utils.get_model_cost_map import get_model_cost_map_source_info

    assert get_model_cost_map_source_info()["source"] == "local"
    assert get_model_cost_map_source_info()["is_env_forced"] is True
