"""The pool of workers with stand-ins for guardrails-ai and its validators: real processes, small imports."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from headrace_detectors import Action
from headrace_guardrails.adapters.worker_judges import NamesJudge, ValidatorJudge
from headrace_guardrails.adapters.workers import Workers
from headrace_guardrails.ports import Subject
from headrace_kit.config import guardrails as config
from headrace_kit.errors import NotReady, Upstream

BASE = """
class Validator:
    pass
class PassResult:
    pass
class Span:
    def __init__(self, start, end): self.start, self.end = start, end
class FailResult:
    def __init__(self, spans): self.error_spans = spans
"""
VALIDATOR = """
import os, time
time.sleep(0.2)
from guardrails.validator_base import FailResult, PassResult, Span, Validator
LOADED = []
class Words(Validator):
    def __init__(self, word): LOADED.append(1); self.word = word
    def validate(self, value, metadata):
        print("a library that prints")
        if "raise" in value: raise ValueError(value)
        if "hang" in value: time.sleep(3600)
        if "late" in value: time.sleep(0.1)
        if "die" in value: os._exit(3)
        if "home" in value:
            told = open(os.path.expanduser("~/.guardrailsrc")).read()
            return FailResult([Span(0, 4)]) if "enable_metrics=false" in told else PassResult()
        if "loaded" in value: return FailResult([Span(0, len(LOADED))])
        if "far" in value: return FailResult([Span(-2, 10**9), Span(50, 60)])
        at = value.find(self.word)
        return FailResult([Span(at, at + len(self.word))]) if at >= 0 else PassResult()
"""
SUBJECT = Subject("p", "output")


@pytest.fixture
async def workers(tmp_path: Path, monkeypatch):
    for name, text in (
        ("guardrails/__init__.py", ""),
        ("guardrails/validator_base.py", BASE),
        ("guardrails_ai/__init__.py", ""),
        ("guardrails_ai/some_words/__init__.py", VALIDATOR),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Workers(lambda: 1, grace_s=0.2)
    yield made
    await made.stop()


def judge(workers, **more) -> ValidatorJudge:
    check = config.ValidatorCheck(name="some-words", arguments={"word": "nasty"}, **more)
    return ValidatorJudge(check, workers)


async def test_a_validator_is_loaded_once_and_says_where(workers):
    validator = judge(workers, action="mask")
    (found,) = await validator.judge("so nasty", SUBJECT)
    assert (found.finding.start, found.finding.end, found.finding.action) == (3, 8, Action.MASK)
    assert await validator.judge("kind", SUBJECT) == []
    (loaded,) = await validator.judge("loaded?", SUBJECT)
    assert loaded.finding.end == 1
    (home,) = await validator.judge("home?", SUBJECT)
    assert home.finding.end == 4, "telemetry is off"
    (far,) = await validator.judge("far?", SUBJECT)
    assert (far.finding.start, far.finding.end) == (0, 4), "what is past the text is cut off"


@pytest.mark.parametrize("how", ["raise", "die"])
async def test_a_validator_that_fails_fails_alone_and_quotes_nothing(workers, how):
    validator = judge(workers)
    with pytest.raises(Upstream) as caught:
        await validator.judge(f"{how} my secret", SUBJECT)
    assert "secret" not in caught.value.message
    assert await validator.judge("kind", SUBJECT) == []


async def test_a_validator_that_hangs_is_ended_and_another_takes_its_place(workers):
    validator = judge(workers)
    await validator.judge("kind", SUBJECT)
    (worker,) = workers._all
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await validator.judge("hang", SUBJECT)
    await worker.process.wait()
    assert await validator.judge("kind", SUBJECT) == []


async def test_a_worker_that_answers_a_little_late_is_kept(workers):
    validator = judge(workers)
    await validator.judge("kind", SUBJECT)
    (worker,) = workers._all
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await validator.judge("late", SUBJECT)
    (found,) = await validator.judge("nasty", SUBJECT)
    assert found.finding.end == 5 and workers._all == {worker}, "the answer is that of its own text"


async def test_loading_goes_on_beyond_the_time_limit_of_what_waits_for_it(workers):
    validator = judge(workers)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await validator.judge("nasty", SUBJECT)
    (found,) = await validator.judge("nasty", SUBJECT)
    assert found.finding.end == 5
    assert len(workers._all) == 1


async def test_what_never_loads_is_given_up():
    slow = Workers(lambda: 1, load_s=0.01)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await judge(slow).judge("x", SUBJECT)
    finally:
        await slow.stop()
    assert not slow._all


async def test_unknown_validators_and_no_workers_are_failures():
    none = Workers(lambda: 0)
    with pytest.raises(NotReady, match="workers is 0"):
        await judge(none).judge("x", SUBJECT)
    await none.stop()
    one = Workers(lambda: 1)
    try:
        with pytest.raises(Upstream, match="ModuleNotFoundError"):
            await NamesJudge(config.NamesCheck(model="no_such_model"), one).judge(json.dumps("x"), SUBJECT)
    finally:
        await one.stop()
