"""What hosted providers are not asked, how they fail, and what happens when a client leaves."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from inference_suite.hosted import LITELLM_WARNS, VENDORS, answer, asking, failure
from inference_suite.provider import KEY

from headrace_inference.ports import Generation
from headrace_kit.errors import BadInput, Blocked, Busy, HeadraceError, NotReady, Upstream

pytestmark = LITELLM_WARNS


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
        ("openai/bad_request", BadInput, "invalid_json_schema"),
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
    assert (type(error), error.code) == (NotReady, "engine_unreached")


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
