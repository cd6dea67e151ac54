"""Errors, and what an engine says of itself."""

from __future__ import annotations

import pytest
from inference_suite.answers import gather
from inference_suite.waiting import until

from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream


async def test_a_prompt_beyond_the_context_is_refused_with_its_code(subject):
    with pytest.raises(BadInput) as refused:
        await gather(subject.engine, subject.chat("word " * subject.long_words, max_tokens=3))
    assert refused.value.code == "context_length_exceeded"


async def test_a_deployment_that_is_not_there_is_not_ready(subject):
    with pytest.raises(NotReady) as failed:
        await gather(subject.absent, subject.chat("Hi", max_tokens=2))
    assert failed.value.retry_after_s
    assert (await subject.absent.health()).state in ("unloaded", "failed")


async def test_an_engine_that_serves_says_so(subject):
    assert (await subject.engine.health()).state == "ready"
    await subject.engine.stats()


async def test_loading_what_is_loaded_changes_nothing(subject):
    await subject.engine.load()
    assert (await subject.engine.health()).state == "ready"
    assert (await gather(subject.engine, subject.chat("Hi", max_tokens=3))).usage.output_tokens <= 3


async def test_a_task_of_others_is_refused(subject):
    for asked in (
        subject.engine.embed(["a"], truncate=True),
        subject.engine.rerank("a", ["b"]),
        subject.engine.classify(["a"]),
    ):
        with pytest.raises(BadInput) as refused:
            await asked
        assert refused.value.code == "unsupported"


async def test_an_engine_that_dies_ends_its_streams_with_an_error(subject):
    if subject.kill is None:
        pytest.skip(subject.elsewhere["kill"])
    stream = subject.engine.generate(subject.chat("Count from one to a thousand.", max_tokens=subject.many_tokens))
    await anext(stream)
    await subject.kill()
    with pytest.raises(Upstream) as failed:
        async for _ in stream:
            pass
    assert failed.value.code == "engine_failed"

    async def down() -> bool:
        try:
            await gather(subject.engine, subject.chat("Hi", max_tokens=2))
        except HeadraceError as error:
            return isinstance(error, NotReady)
        return True  # it is back already

    await until(down)
