"""Which prompts llama.cpp reads at one time."""

from __future__ import annotations

from headrace_inference.triton_models.llamacpp.prompts import CHARS_PER_TOKEN, Prompts

STEP = 32


def test_short_prompts_go_together_and_a_long_one_alone():
    prompts = Prompts(STEP)
    short = [prompts.ask(10 * CHARS_PER_TOKEN) for _ in range(3)]
    long = prompts.ask(1000 * CHARS_PER_TOKEN)
    last = prompts.ask(0)
    assert [reading.entered for reading in (*short, long, last)] == [True, True, True, False, False]
    assert prompts.waiting() == 2, "the last one would fit, but came later"
    for reading in short:
        reading.leave()
    assert (long.wait(), last.entered) == (True, False)
    long.leave()
    assert last.wait()
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
