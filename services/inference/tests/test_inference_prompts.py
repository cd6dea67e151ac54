"""Which prompts llama.cpp reads at one time."""

from __future__ import annotations

from headrace_inference.triton_models.llamacpp.prompts import CHARS_PER_TOKEN, Prompts

STEP = 32


def test_the_next_prompt_is_there_when_those_before_it_fit_into_one_step():
    prompts = Prompts(STEP)
    short = [prompts.ask(10 * CHARS_PER_TOKEN) for _ in range(3)]
    long = prompts.ask(1000 * CHARS_PER_TOKEN)
    last = prompts.ask(0)
    assert [reading.entered for reading in (*short, long, last)] == [True, True, True, True, False]
    assert prompts.waiting() == 1, "the last one would fit, but came later"
    for reading in short:
        reading.leave()
    long.read_to(STEP + 1)
    assert not last.entered
    long.read_to(STEP)
    assert last.wait()
    long.leave()
    last.leave()
    last.leave()
    assert prompts.waiting() == 0
    assert prompts.ask(10**6).entered


def test_who_leaves_while_waiting_is_never_called():
    prompts = Prompts(STEP)
    first = prompts.ask(10**6)
    second, third = prompts.ask(10**6), prompts.ask(10**6)
    second.leave()
    assert not second.wait()
    first.leave()
    assert (second.entered, third.wait()) == (False, True)
