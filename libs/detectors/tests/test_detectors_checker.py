"""The public face: specs, policies, verdicts, errors."""

import subprocess
import sys
from types import ModuleType

import pytest

import headrace_detectors
from headrace_detectors import (
    CHECKS,
    DIRECTIONS,
    Action,
    BadCheck,
    BanList,
    Length,
    Patterns,
    Pii,
    Secrets,
    Tricks,
    compile_checks,
    compile_policy,
    read_spec,
)


def test_block_wins_over_mask_and_mask_over_flag():
    flag = Patterns(patterns={"word": "hello"}, action=Action.FLAG)
    mask, block = Pii(), BanList(words=("falcon",))
    text = "hello ana@example.org"
    checker = compile_checks([flag, mask, block])
    assert checker.check("nothing").action is Action.ALLOW
    assert (checker.check("hello").action, checker.check("hello").text) == (Action.FLAG, "hello")
    assert (checker.check(text).action, checker.check(text).text) == (Action.MASK, "hello [EMAIL_1]")
    blocked = checker.check(text + " falcon")
    assert (blocked.action, blocked.text) == (Action.BLOCK, "")
    assert [finding.action for finding in blocked.findings] == [Action.FLAG, Action.MASK, Action.BLOCK]


def test_what_overlaps_is_covered_whole_and_named_by_the_surest():
    checker = compile_checks(
        [
            Pii(kinds=("email",)),
            Patterns(patterns={"name": r"Dr\. \w+", "domain": r"example\.org/\w+"}, action=Action.MASK),
        ]
    )
    verdict = checker.check("ask Dr. ana.lopez@example.org/x now")
    assert verdict.text == "ask [EMAIL_1] now"
    assert [finding.kind for finding in verdict.findings] == ["email"]


def test_a_flag_and_a_mask_in_one_place_are_both_reported():
    checker = compile_checks([Pii(), Patterns(patterns={"ours": r"\S+@example\.org"}, action=Action.FLAG)])
    assert [(found.kind, found.action) for found in checker.check("ana@example.org").findings] == [
        ("email", Action.MASK),
        ("ours", Action.FLAG),
    ]


def test_a_long_text_is_blocked_or_flagged():
    assert compile_checks([Length(max_chars=3)]).check("abcd").action is Action.BLOCK
    assert compile_checks([Length(max_chars=3)]).check("abc").action is Action.ALLOW
    flagged = compile_checks([Length(max_chars=3, action=Action.FLAG)]).check("abcd")
    assert (flagged.text, flagged.findings[0].start) == ("abcd", 3)


def test_values_appear_in_no_representation():
    checker = compile_checks([Pii()])
    verdict = checker.check("ana@example.org")
    blocked = compile_checks([Pii(action=Action.BLOCK)]).check("ana@example.org")
    stream = checker.stream()
    stream.feed("ana@exa")
    assert "ana" not in repr(verdict) + repr(blocked) + repr(verdict.findings) + repr(stream)


def test_no_checks_let_everything_through():
    checker = compile_checks([])
    assert not checker
    assert checker.check("ana@example.org").text == "ana@example.org"
    assert checker.stream().feed("ana@example.org") == "ana@example.org"


@pytest.mark.parametrize("text", ["", "\ud800 lone \udfff ana@example.org", "\x00", "a" * 100_000, "\u200b" * 5000])
def test_odd_texts_do_no_harm(text):
    checker = compile_checks([Pii(), Secrets(), Tricks(), BanList(words=("falcon",))])
    verdict = checker.check(text)
    assert "ana@" not in verdict.text


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ({"inptu": []}, "inptu", "did you mean `input`"),
        ({"input": [{"check": "pi"}]}, "input[0].check", "did you mean `pii`"),
        ({"input": [{}]}, "input[0].check", "no such check"),
        ({"input": [{"check": "pii", "kind": []}]}, "input[0].kind", "did you mean `kinds`"),
        ({"input": [{"check": "pii", "kinds": ["emial"]}]}, "input[0].kinds[0]", "did you mean `email`"),
        ({"input": [{"check": "pii", "kinds": []}]}, "input[0].kinds", "at least one"),
        ({"input": [{"check": "pii", "kinds": "email"}]}, "input[0].kinds", "list of strings"),
        ({"input": [{"check": "pii", "action": "allow"}]}, "input[0].action", "flag, mask, rewrite, escalate, block"),
        ({"input": [{"check": "pii", "threshold": 2}]}, "input[0].threshold", "0 to 1"),
        ({"output": [{"check": "pii"}, {"check": "ban_list"}]}, "output[1].words", "needs it"),
        ({"output": [{"check": "ban_list", "words": []}]}, "output[0].words", "at least one"),
        ({"output": [{"check": "ban_list", "words": ["ok", "--"]}]}, "output[0].words[1]", "no letter"),
        ({"output": [{"check": "ban_list", "words": ["x" * 201]}]}, "output[0].words[0]", "longer than"),
        ({"output": [{"check": "regex", "patterns": {"a": "(b"}}]}, "output[0].patterns.a", "RE2"),
        ({"output": [{"check": "regex", "patterns": {"a": r"(b)\1"}}]}, "output[0].patterns.a", "RE2"),
        ({"output": [{"check": "regex", "patterns": {"a": "b*"}}]}, "output[0].patterns.a", "empty text"),
        ({"output": [{"check": "regex", "patterns": {"a": r"\b"}}]}, "output[0].patterns.a", "empty text"),
        ({"output": [{"check": "regex", "patterns": {}}]}, "output[0].patterns", "at least one"),
        ({"output": [{"check": "length", "max_chars": 0}]}, "output[0].max_chars", "1 or more"),
        ({"output": [{"check": "length", "max_chars": 5, "action": "mask"}]}, "output[0].action", "cannot be masked"),
        ({"input": [{"check": "language", "allow": []}]}, "input[0].allow", "at least one"),
        (
            {"input": [{"check": "language", "allow": ["en", "english"]}]},
            "input[0].allow",
            "did you mean `en`|there are",
        ),
        ({"input": [{"check": "language", "allow": ["en"], "action": "mask"}]}, "input[0].action", "cannot be masked"),
    ],
)
def test_a_bad_policy_is_refused_where_it_is_wrong(section, path, message):
    with pytest.raises(BadCheck, match=message) as caught:
        compile_policy(section)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


def test_a_policy_has_a_checker_for_every_direction():
    policy = compile_policy({"input": [{"check": "pii", "kinds": ["email"], "action": "block"}]})
    assert tuple(policy.checkers) == tuple(policy.specs) == DIRECTIONS
    assert policy.specs["input"] == (Pii(kinds=("email",), action=Action.BLOCK),)
    assert not policy.checkers["output"]


def test_directions_that_check_the_same_share_a_checker():
    policy = compile_policy({"input": [{"check": "pii"}], "output": [{"check": "pii"}], "retrieved": []})
    assert policy.checkers["input"] is policy.checkers["output"]
    assert policy.checkers["input"] is not policy.checkers["retrieved"]


def test_every_check_can_be_read():
    settings = {
        "ban_list": {"words": ["x"]},
        "regex": {"patterns": {"a": "b"}},
        "length": {"max_chars": 5},
        "language": {"allow": ["en"]},
        "canary": {"tokens": ["a1b2c3d4e5"]},
    }
    for name, kind in CHECKS.items():
        assert type(read_spec({"check": name, **settings.get(name, {})})) is kind


def test_a_threshold_of_nothing_reports_no_more_than_what_is_accepted():
    checker = compile_checks([Pii(threshold=0.0), Secrets(threshold=0.0), Tricks()])
    assert checker.check("12:30:45 and a:b:c:d").findings == ()


@pytest.mark.parametrize("piece", ["secret=", "a:", "token ", "-----BEGIN PRIVATE KEY-----", "a@", "4111 "])
def test_chains_of_beginnings_end_in_linear_time(piece):
    # Quadratic work would run for many minutes here.
    checker = compile_checks([Pii(), Secrets()])
    assert checker.check(piece * (50_000 // len(piece)) + " ana@example.org").text.endswith(" [EMAIL_1]")


def test_a_pattern_that_would_take_backtracking_for_ever_is_harmless():
    checker = compile_checks([Patterns(patterns={"evil": r"(a+)+$"}, action=Action.FLAG)])
    assert checker.check("a" * 50_000 + "b").action is Action.ALLOW


def test_the_public_names_are_all_listed():
    public = {
        name
        for name, value in vars(headrace_detectors).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(headrace_detectors.__all__)


def test_importing_it_pulls_in_nothing_but_the_standard_library_and_re2():
    code = "import sys; before = set(sys.modules); import headrace_detectors; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert outside == {"headrace_detectors", "re2"}
