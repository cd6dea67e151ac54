"""Sampling options of llama.cpp: each does what it says, and usage is right."""

from __future__ import annotations

import pytest
import pytest_asyncio
from inference_suite.answers import gather
from inference_suite.local import chat, loaded, weights

from headrace_inference.ports import Generation, Sampling
from headrace_kit.errors import BadInput

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEA = "Write a sentence about the sea."
SYSTEM = "You are a guide in a museum of clocks. " * 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine():
    async with loaded({"model": weights("small")}, slots=2) as engine:
        yield engine


async def test_the_same_seed_says_the_same_and_another_seed_another(engine):
    def asked(seed: int) -> Generation:
        return chat(SEA, temperature=1.2, seed=seed)

    first = (await gather(engine, asked(7))).text
    assert (await gather(engine, asked(7))).text == first
    assert len({(await gather(engine, asked(seed))).text for seed in (7, 8, 9, -1, 2**63 - 1)}) > 1


@pytest.mark.parametrize("length", [1, 3, 6])
async def test_a_stop_string_ends_the_answer_and_is_never_seen(engine, length):
    text = (await gather(engine, chat(SEA, max_tokens=24))).text
    for start in range(4, len(text) - length, 5):
        stop = text[start : start + length]
        whole = await gather(engine, chat(SEA, max_tokens=24, stop=(stop, "never said")))
        assert whole.text == text[: text.index(stop)]
        assert whole.finish == "stop"


async def test_choices_are_different_answers_to_one_prompt(engine):
    whole = await gather(engine, chat(SEA, n=2, temperature=1.2, seed=5, max_tokens=8))
    assert len({choice.text for choice in whole.choices.values()}) == 2
    assert [choice.tokens for choice in whole.choices.values()] == [8, 8]
    one = await gather(engine, chat(SEA, max_tokens=8))
    assert whole.usage.input_tokens == one.usage.input_tokens
    assert whole.usage.output_tokens == 16


async def test_more_choices_than_slots_are_refused_before_they_queue(engine):
    with pytest.raises(BadInput) as caught:
        engine.check(chat(SEA, n=3))
    assert (caught.value.code, caught.value.param) == ("unsupported", "n")


async def test_log_probabilities_come_with_alternatives_and_sums(engine):
    whole = await gather(engine, chat(SEA, max_tokens=6, top_logprobs=3))
    entries = whole.choices[0].logprobs
    assert len(entries) == 6 == whole.choices[0].tokens
    assert "".join(entry.token for entry in entries) == whole.text
    for entry in entries:
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.token, entry.logprob), "greedy takes the likeliest"
        assert sorted((value for _, value in entry.top), reverse=True) == [value for _, value in entry.top]
    none = await gather(engine, chat(SEA, max_tokens=6, top_logprobs=0))
    assert [entry.top for entry in none.choices[0].logprobs] == [()] * 6
    counted = await gather(engine, chat(SEA, max_tokens=6, want_stats=True))
    assert counted.choices[0].logprobs == []
    total = sum(chunk.sum_logprob for chunk in counted.chunks)
    assert total == pytest.approx(sum(entry.logprob for entry in entries), abs=0.2)


async def test_penalties_change_what_is_repeated(engine):
    asked = "Say the word tick again and again: tick tick tick tick tick"
    plain = (await gather(engine, chat(asked, max_tokens=40))).text
    for penalty in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert (await gather(engine, chat(asked, max_tokens=40, **penalty))).text != plain


async def test_max_tokens_ends_an_answer_with_its_reason(engine):
    whole = await gather(engine, chat(SEA, max_tokens=3))
    assert (whole.finish, whole.usage.output_tokens, whole.choices[0].tokens) == ("length", 3, 3)


async def test_a_prompt_that_is_too_long_is_refused_and_says_so(engine):
    with pytest.raises(BadInput) as caught:
        await gather(engine, chat("word " * 3000))
    assert caught.value.code == "context_length_exceeded"


async def test_a_bare_prompt_is_continued(engine):
    sampling = Sampling(temperature=0, max_tokens=8, top_logprobs=1)
    whole = await gather(engine, Generation(prompt="One, two, three,", sampling=sampling))
    assert "four" in whole.text
    assert len(whole.choices[0].logprobs) == 8


async def test_a_warmed_system_prompt_is_read_from_the_cache(engine):
    system = {"role": "system", "content": SYSTEM}
    warmed = await gather(engine, chat((system, {"role": "user", "content": "Hello"}), max_tokens=4))
    whole = await gather(
        engine, chat((system, {"role": "user", "content": "Which clock is the oldest?"}), max_tokens=4)
    )
    assert whole.usage.cached_input_tokens > 0.8 * warmed.usage.input_tokens
