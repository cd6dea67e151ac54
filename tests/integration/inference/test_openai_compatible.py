"""The adapter for servers of our own against recorded ones: what the conformance suite does not ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from inference_suite.answers import gather
from inference_suite.asking import WEATHER, image_message
from inference_suite.replay import Replay

from headrace_inference.adapters.openai_compatible.engine import OpenAiCompatibleEngine
from headrace_inference.ports import EngineStats, Generation, Sampling
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import ServerDeployment
from headrace_kit.errors import BadInput, Busy, HeadraceError, NotReady, TooLarge, Upstream

ENGINES = ("vllm", "sglang", "nim", "tgi")
HELLO = Generation(messages=({"role": "user", "content": "Hello"},), sampling=Sampling(max_tokens=9), tenant="acme")


class Bench:
    """Recorded servers and engines over them, which end with the test."""

    def __init__(self, secrets: Path) -> None:
        self.secrets = Secrets(secrets)
        self.folder = secrets
        self._engines: list[OpenAiCompatibleEngine] = []
        self._servers: list[Replay] = []

    async def server(self, engine: str) -> Replay:
        made = await Replay(engine).__aenter__()
        self._servers.append(made)
        return made

    def engine(self, server: Replay, **options) -> OpenAiCompatibleEngine:
        options = {"engine": server.engine, "address": server.address, "model": "small"} | options
        made = OpenAiCompatibleEngine("small", ServerDeployment(**options), self.secrets)
        self._engines.append(made)
        return made

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()
        for server in self._servers:
            await server.__aexit__()


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_server_is_ready_when_it_serves_the_model_and_its_adapters(bench, engine):
    server = await bench.server(engine)
    adapters = {"adapters": {"legal": {"model": "legal"}}}
    assert (await bench.engine(server, **adapters).health()).state == "ready"
    other = await bench.engine(server, served_name="other").health()
    assert (other.state, "serves legal, small, not other" in other.detail) == ("failed", True)
    lacking = await bench.engine(server, adapters={"poems": {"model": "poems"}}).health()
    assert "not poems" in lacking.detail
    server.health = 503
    assert (await bench.engine(server).health()).state == ("loading" if engine in ("sglang", "nim") else "failed")
    with pytest.raises(Upstream):
        await bench.engine(server).load()


async def test_another_version_than_ours_is_told_and_serves(bench):
    server = await bench.server("sglang")
    state = await bench.engine(server).health()
    assert state.state == "ready"
    assert "sglang is 0.5.6" in state.detail
    server.missing.add("/server_info")
    assert (await bench.engine(server).health()).detail == ""


async def test_unloading_names_who_can(bench):
    with pytest.raises(BadInput) as refused:
        await bench.engine(await bench.server("vllm")).unload()
    assert refused.value.code == "unsupported"
    assert "stop that server" in refused.value.message


@pytest.mark.parametrize(
    ("engine", "stats"),
    [
        ("vllm", EngineStats(0.4375, running=5, waiting=4, draft_acceptance=0.6)),
        ("nim", EngineStats(0.4375, running=5, waiting=4, draft_acceptance=0.6)),
        ("sglang", EngineStats(0.28, running=6, waiting=2, draft_acceptance=0.75)),
        ("tgi", EngineStats(None, running=5, waiting=2)),
    ],
)
async def test_load_is_read_from_the_servers_metrics(bench, engine, stats):
    server = await bench.server(engine)
    made = bench.engine(server)
    assert await made.stats() == stats
    again = await made.stats()  # counters have not moved: nothing was drafted since
    assert again == replace(stats, draft_acceptance=0.75 if engine == "sglang" else None)
    server.missing.update(("/metrics", "/v1/metrics"))
    assert await made.stats() == EngineStats()
    await server.die()
    assert await made.stats() == EngineStats()


@pytest.mark.parametrize(
    ("engine", "transcript", "error", "code"),
    [
        ("vllm", "context.400.json", BadInput, "context_length_exceeded"),
        ("vllm", "schema.400.json", BadInput, "invalid_request"),
        ("vllm", "model.404.json", NotReady, "not_ready"),
        ("vllm", "auth.401.json", Upstream, "engine_auth"),
        ("vllm", "internal.500.json", Upstream, "engine_failed"),
        ("vllm", "busy.503.json", Busy, "engine_busy"),
        ("vllm", "error_event.sse", Upstream, "engine_failed"),
        ("vllm", "chat.sse!4", Upstream, "engine_failed"),
        ("vllm", "chat.sse!0", Upstream, "engine_failed"),
        ("sglang", "context.400.json", BadInput, "context_length_exceeded"),
        ("sglang", "context_event.sse", BadInput, "context_length_exceeded"),
        ("sglang", "abort_event.sse", Upstream, "engine_failed"),
        ("tgi", "context.422.json", BadInput, "context_length_exceeded"),
        ("tgi", "busy.429.json", Busy, "engine_busy"),
        ("tgi", "error_event.sse", Upstream, "engine_failed"),
    ],
)
async def test_each_refusal_and_failure_is_ours_and_says_nothing_of_the_inside(bench, engine, transcript, error, code):
    server = await bench.server(engine)
    server.instead = [transcript]
    server.extra_headers = {"retry-after": "7"}
    with pytest.raises(HeadraceError) as failed:
        await gather(bench.engine(server), HELLO)
    assert type(failed.value) is error
    assert failed.value.code == code
    if error is Busy:
        assert failed.value.retry_after_s == 7
    for inside in ("EngineCore", "CUDA", "stack trace", "absent", "4096", server.address):
        assert inside not in failed.value.message


async def test_a_body_that_is_too_large_for_the_server_is_named(bench):
    server = await bench.server("vllm")
    big = replace(HELLO, messages=({"role": "user", "content": "x" * 3_000_000},))  # aiohttp's own limit is 1 MiB
    with pytest.raises(TooLarge):
        await gather(bench.engine(server), big)


async def test_a_silent_server_is_given_up(bench):
    over = asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        config = ServerDeployment(engine="vllm", model="m", address=address, timeout="200ms")
        engine = OpenAiCompatibleEngine("small", config, bench.secrets)
        with pytest.raises(Upstream) as failed:
            await gather(engine, HELLO)
        assert "silent" in failed.value.message
        await engine.close()
        over.set()


async def test_thoughts_come_apart_from_the_answer(bench):
    for engine in ("vllm", "sglang"):
        server = await bench.server(engine)
        server.instead = ["reasoning.sse"]
        answer = await gather(bench.engine(server), HELLO)
        assert answer.text == "It is four."
        assert "".join(chunk.reasoning for chunk in answer.chunks) == "Let me think."
        assert answer.usage.reasoning_tokens == 3
        assert answer.usage.output_tokens == 7


async def test_tokens_read_from_the_cache_are_counted(bench):
    for engine in ("vllm", "sglang"):
        server = await bench.server(engine)
        server.instead = ["cached.sse"]
        assert (await gather(bench.engine(server), HELLO)).usage.cached_input_tokens == 12


async def test_tenants_have_salts_of_their_own_and_the_platform_has_none(bench):
    (bench.folder / "salt").write_text("a key")
    for engine in ("vllm", "sglang", "nim"):
        server = await bench.server(engine)
        made = bench.engine(server, tenant_salt={"secret": "salt"})
        for tenant in ("acme", "acme", "other", ""):
            await gather(made, replace(HELLO, tenant=tenant))
        first, again, other, none = (body.get("cache_salt") for body in server.seen)
        assert first == again != other
        assert len(first) >= 43
        assert "acme" not in first
        assert none is None
        fresh = bench.engine(server)  # without a key: one of this process's own
        await gather(fresh, HELLO)
        assert server.seen[-1]["cache_salt"] not in (first, other)
    server = await bench.server("tgi")
    await gather(bench.engine(server), HELLO)
    assert "cache_salt" not in server.seen[0], "its cache is off, see the config's capabilities"


async def test_adapters_are_named_as_the_server_wants_them(bench):
    for engine, name in (("vllm", "legal"), ("sglang", "base:legal"), ("nim", "legal"), ("tgi", "legal")):
        server = await bench.server(engine)
        made = bench.engine(server, adapters={"legal": {"model": "legal"}}, served_name="base")
        await gather(made, replace(HELLO, adapter="legal"))
        await gather(made, HELLO)
        assert [body["model"] for body in server.seen] == [name, "base"]


async def test_credentials_are_sent_and_a_rotated_one_is_seen(bench):
    server = await bench.server("vllm")
    made = bench.engine(server, credentials={"secret": "key"})
    with pytest.raises(NotReady):
        await gather(made, HELLO)
    for value in ("first", "second"):
        (bench.folder / "key").write_text(value)
        await gather(made, HELLO)
    sent = [headers["Authorization"] for headers in server.headers]
    assert sent == ["Bearer first", "Bearer second"]


async def test_a_request_without_drafts_goes_to_the_plain_instance_while_there_is_one(bench):
    drafting, plain = await bench.server("vllm"), await bench.server("vllm")
    made = bench.engine(drafting, plain_address=plain.address, speculation={"method": "ngram"})
    for drafts in (None, 4, 0):
        await gather(made, replace(HELLO, max_draft_tokens=drafts))
    assert (len(drafting.seen), len(plain.seen)) == (2, 1)
    await plain.die()
    await gather(made, replace(HELLO, max_draft_tokens=0))
    assert len(drafting.seen) == 3


async def test_our_own_limit_gives_way_to_what_fits_but_the_callers_does_not(bench):
    server = await bench.server("vllm")
    made = bench.engine(server, max_output_tokens=99)
    server.instead = ["limit.400.json"]
    unnamed = replace(HELLO, sampling=Sampling())
    assert (await gather(made, unnamed)).finish == "stop"
    assert [body.get("max_tokens") for body in server.seen] == [99, None]
    server.instead = ["limit.400.json"]
    with pytest.raises(BadInput):
        await gather(made, HELLO)


async def test_images_and_sound_pass_in_the_servers_own_shape(bench):
    image = image_message()
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    asked = replace(HELLO, messages=({**image, "content": [*image["content"], sound]},))
    for engine in ("vllm", "nim", "sglang"):
        server = await bench.server(engine)
        await gather(bench.engine(server, accepts=("image", "audio")), asked)
        _, picture, heard = server.seen[0]["messages"][0]["content"]
        assert picture["image_url"]["url"].startswith("data:image/png;base64,")
        if engine == "sglang":
            assert heard == {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRg=="}}
        else:
            assert heard == sound


async def test_a_named_function_and_one_call_at_a_time_are_asked_for(bench):
    server = await bench.server("vllm")
    sampling = Sampling(max_tokens=9, tools=(WEATHER,), tool_choice="get_weather", parallel_tool_calls=False)
    await gather(bench.engine(server), replace(HELLO, sampling=sampling))
    (body,) = server.seen
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert body["parallel_tool_calls"] is False


async def test_an_idle_connection_that_the_server_closed_costs_no_request(bench):
    """The server ends after each answer and comes back on the same port; the pooled connection is dead."""
    server = await bench.server("vllm")
    made = bench.engine(server)
    for _ in range(3):
        await gather(made, HELLO)
        await server.__aexit__()
        await server.__aenter__()
    assert len(server.seen) == 3


async def test_many_streams_share_a_server_and_leave_nothing_behind(bench):
    server = await bench.server("sglang")
    made = bench.engine(server)
    answers = await asyncio.gather(*(gather(made, HELLO) for _ in range(60)))
    assert {answer.text for answer in answers} == {"The quick brown fox jumps over the lazy dog."}
    assert server.running == 0
