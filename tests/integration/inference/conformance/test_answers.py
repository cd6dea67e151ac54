"""What every engine's answer looks like: order, ends, usage, limits."""

from __future__ import annotations

import asyncio

import pytest
from inference_suite.answers import gather
from inference_suite.asking import REFUSALS, constant_schema

from headrace_kit.errors import BadInput

FOX = "Repeat exactly: The quick brown fox jumps over the lazy dog."


async def test_an_answer_comes_in_pieces_and_ends_once_with_usage_last(subject):
    answer = await gather(subject.engine, subject.chat(FOX, max_tokens=24, temperature=0))
    assert answer.text.strip()
    assert len([chunk for chunk in answer.chunks if chunk.text]) > 1, "it is streamed"
    assert answer.usage.input_tokens > 3
    assert 0 < answer.usage.output_tokens <= 24
    tokens = sum(choice.tokens for choice in answer.choices.values())
    assert abs(tokens - answer.usage.output_tokens) <= 1, "an end-of-text token may count in one of them"


async def test_the_limit_of_tokens_is_kept_and_told(subject):
    answer = await gather(subject.engine, subject.chat(FOX, max_tokens=3, temperature=0))
    assert answer.finish == "length"
    assert answer.usage.output_tokens == 3


async def test_a_stop_string_ends_the_answer_before_it(subject):
    said = (await gather(subject.engine, subject.chat(FOX, max_tokens=24, temperature=0))).text
    words = said.split()
    stop = words[len(words) // 2]
    answer = await gather(subject.engine, subject.chat(FOX, max_tokens=24, temperature=0, stop=(stop,)))
    assert answer.text == said[: said.index(stop)]
    assert answer.finish == "stop"


async def test_a_seed_makes_the_answer_repeat(subject):
    asked = subject.chat(FOX, max_tokens=16, temperature=1.0, top_p=0.9, seed=7)
    first = await gather(subject.engine, asked)
    assert (await gather(subject.engine, asked)).text == first.text


async def test_several_choices_end_one_by_one(subject):
    subject.needs("n")
    # vLLM refuses several choices without chance
    answer = await gather(subject.engine, subject.chat(FOX, max_tokens=3, temperature=0.7, seed=1, n=2))
    assert sorted(answer.choices) == [0, 1]
    assert {choice.finish for choice in answer.choices.values()} == {"length"}
    assert answer.usage.output_tokens == 6


async def test_log_probabilities_are_those_of_the_tokens(subject):
    subject.needs("logprobs")
    asked = subject.chat(FOX, max_tokens=3, temperature=0, top_logprobs=2)
    (choice,) = (await gather(subject.engine, asked)).choices.values()
    assert len(choice.logprobs) == choice.tokens == 3
    assert "".join(entry.token for entry in choice.logprobs) == choice.text
    for entry in choice.logprobs:
        assert entry.logprob <= 0
        assert 1 <= len(entry.top) <= 2
        assert entry.top[0][1] == max(value for _, value in entry.top)
    total = sum(chunk.sum_logprob for chunk in choice.chunks)
    assert total == pytest.approx(sum(entry.logprob for entry in choice.logprobs), abs=1e-4)


async def test_sums_of_log_probabilities_come_without_the_tokens(subject):
    subject.needs("logprobs")
    asked = subject.chat(FOX, max_tokens=3, temperature=0)
    with_stats = type(asked)(messages=asked.messages, sampling=asked.sampling, want_stats=True)
    (choice,) = (await gather(subject.engine, with_stats)).choices.values()
    assert choice.logprobs == []
    assert any(chunk.min_logprob is not None for chunk in choice.chunks)


async def test_a_bare_prompt_is_continued(subject):
    subject.needs("prompt")
    answer = await gather(subject.engine, subject.bare("One, two, three,", max_tokens=3, temperature=0))
    assert answer.text
    assert answer.usage.output_tokens == 3


@pytest.mark.parametrize("ability", sorted(REFUSALS))
async def test_what_an_engine_cannot_do_is_refused_by_name(subject, ability):
    asked = REFUSALS[ability](subject)
    if ability not in subject.refused:
        subject.engine.check(asked)
        return
    for refuse in (lambda: _check(subject, asked), lambda: gather(subject.engine, asked)):
        with pytest.raises(BadInput) as refused:
            await refuse()
        assert (refused.value.code, refused.value.param) == ("unsupported", subject.refused[ability])


async def _check(subject, asked) -> None:
    subject.engine.check(asked)


async def test_an_adapter_that_is_not_there_is_refused_by_name(subject):
    asked = subject.chat("Hi", max_tokens=2)
    with pytest.raises(BadInput) as refused:
        subject.engine.check(type(asked)(messages=asked.messages, sampling=asked.sampling, adapter="nobody"))
    assert refused.value.param == "adapter"


async def test_answers_of_many_at_once_do_not_mix(subject):
    subject.needs("json_schema")
    names = [f"item-{number}" for number in range(12)]

    async def one(name: str) -> str:
        asked = subject.chat(f"Give the item {name}.", max_tokens=32, response_format=constant_schema(name))
        return (await gather(subject.engine, asked)).text

    for name, said in zip(names, await asyncio.gather(*map(one, names)), strict=True):
        assert name in said
        assert not any(other in said for other in names if other not in name)
