"""Policies through config changes, with a fake screen."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from headrace_detectors import (
    CHECKS,
    CODE_KINDS,
    DIRECTIONS,
    ENCODED_KINDS,
    INSTRUCTION_KINDS,
    LANGUAGES,
    PII_KINDS,
    SECRET_KINDS,
    UNICODE_KINDS,
    URL_KINDS,
    Action,
    Finding,
    Verdict,
)
from headrace_guardrails.adapters.compile import PolicyCompiler
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Policy, Subject
from headrace_kit.config import guardrails as config
from headrace_kit.config import parse
from headrace_kit.config.snapshot import KEPT
from headrace_kit.errors import BadInput, NotFound, NotReady


class FakeScreen:
    """Flags every text that has a `!`."""

    def check(self, text: str, session=None, extra=()) -> Verdict:
        at = text.find("!")
        found = (Finding("fake", "mark", at, at + 1, 1.0, Action.FLAG),) if at >= 0 else ()
        return Verdict(Action.FLAG if found else Action.ALLOW, text, found)

    def stream(self, session=None):
        raise NotImplementedError


class FakeCompiler:
    """Compiles anything but a ban list with the word `broken`."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, section: config.Policy) -> Policy:
        self.compiled += 1
        if "broken" in str(section):
            raise BadInput("no good", param="input[0].words")
        return Policy(dict.fromkeys(DIRECTIONS, FakeScreen()), ())


def sections(**words: str):
    text = "".join(f"\n  {name}: {{input: [{{check: ban_list, words: [{word}]}}]}}" for name, word in words.items())
    return parse(f"guardrails:{text or ' {}'}").guardrails


def test_an_unchanged_policy_is_not_compiled_again():
    compiler = FakeCompiler()
    policies = Policies(compiler)
    policies.apply("a", sections(one="x", two="y"))
    first = policies.get("one")
    policies.apply("b", sections(one="x", two="z"))
    assert policies.get("one") is first
    assert compiler.compiled == 3


def test_a_removed_policy_is_gone_but_for_requests_of_its_snapshot():
    policies = Policies(FakeCompiler())
    policies.apply("a", sections(one="x"))
    policies.apply("b", sections(two="x"))
    assert policies.get("one", "a")
    with pytest.raises(NotFound):
        policies.get("one")
    for number in range(KEPT):
        policies.apply(f"c{number}", sections(two="x"))
    with pytest.raises(NotFound):
        policies.get("one", "a")


def test_a_policy_that_cannot_be_compiled_is_refused_and_reported_alone():
    policies = Policies(FakeCompiler())
    policies.apply("a", sections(good="x", bad="broken"))
    assert policies.problems() == ["guardrails.bad: input[0].words: no good"]
    assert list(policies.listed()) == ["good"]
    with pytest.raises(NotReady, match="no good"):
        policies.get("bad")
    policies.apply("b", sections(good="x", bad="mended"))
    assert policies.problems() == []
    assert policies.get("bad")


@pytest.mark.parametrize("text", ["hey!", "x" * 30_000 + "!"])
async def test_short_and_long_texts_are_judged_the_same(text):
    policies = Policies(FakeCompiler())
    policies.apply("a", sections(one="x"))
    guard = Guard(policies, Metrics(CollectorRegistry()), 100_000)
    judged = await guard.check(Subject("one", "input"), text)
    assert [(one.finding.start, one.finding.action) for one in judged.findings] == [(len(text) - 1, Action.FLAG)]


def test_tier_1_names_the_setting_that_it_cannot_build():
    with pytest.raises(BadInput) as caught:
        PolicyCompiler({})(
            parse(r"guardrails: {p: {output: [{check: regex, patterns: {byte: '\C'}}]}}").guardrails["p"]
        )
    assert caught.value.param == "output[0].patterns.byte"


def test_the_config_offers_exactly_what_the_detectors_have():
    assert get_args(config.PiiKind) == PII_KINDS
    assert get_args(config.LanguageCode) == LANGUAGES
    assert get_args(config.SecretKind) == SECRET_KINDS
    assert get_args(config.TrickKind) == UNICODE_KINDS
    assert get_args(config.EncodedKind) == ENCODED_KINDS
    assert get_args(config.InstructionKind) == INSTRUCTION_KINDS
    assert get_args(config.CodeKind) == CODE_KINDS
    assert get_args(config.UrlKind) == URL_KINDS
    assert get_args(config.Action) == tuple(Action)[1:]
    offered = {check.model_fields["check"].default for check in get_args(get_args(config.Check)[0])}
    assert {name for name in offered if config.tier_of(name) == 1} == set(CHECKS)
    assert tuple(config.Policy().checks) == DIRECTIONS


def test_every_check_of_the_config_compiles_with_its_defaults():
    policy = parse(
        """
        guardrails:
          all:
            input:
              - {check: pii}
              - {check: secrets}
              - {check: ban_list, words: [Café, "two words"]}
              - {check: regex, patterns: {ticket: 'TICK-\\d+'}}
              - {check: unicode}
              - {check: length, max_chars: 100}
        """
    ).guardrails["all"]
    compiled = PolicyCompiler({})(policy)
    assert [check.check for check in compiled.checks] == ["pii", "secrets", "ban_list", "regex", "unicode", "length"]
    assert compiled.screens["input"].check("one  café").action is Action.BLOCK
