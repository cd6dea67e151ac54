"""Every beginning of a match reads as one: what streams rely on."""

import re

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_detectors import _pii, _secrets, _tricks
from headrace_detectors._prefixes import prefixes
from headrace_detectors.checker import compile_checks
from headrace_detectors.specs import Patterns

PATTERNS = [
    r"foobar",
    r"\bfoo\b",
    r"a(?:b|cd)*e",
    r"(ab|a)(c|bcd)(d*)",
    r"x{2,4}y?z{3}",
    r"(?:ab){2,3}c",
    r"(?:a{1,2}b){2}",
    r"(?i)sk-[a-z0-9]{3,5}",
    r"q(?i)ab|c",
    r"(?i:AB)c",
    r"[^\s:]{1,3}:[]a-c-]+",
    r"[[:alpha:]_]{2}\d+?\.\x41\x{e9}",
    r"(?P<name>\d{2})-\pL",
    r"\Qa.b\E+c",
    r"{,2}a{",
    r"(a|)b",
    r"\\d\.",
    r"(?s).{2}z",
    r"^a$",
]


@pytest.mark.parametrize("source", PATTERNS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_beginnings_of_matches_are_recognised(source, data):
    python = (
        source.replace("[:alpha:]", "a-zA-Z")
        .replace(r"\x{e9}", r"\xe9")
        .replace(r"\pL", "[a-zé]")
        .replace(r"\Qa.b\E", r"a\.b")
        .replace("q(?i)ab|c", "q(?i:ab)|(?i:c)")
        .replace("{,2}a{", r"\{,2\}a\{")
    )
    text = data.draw(st.from_regex(re.compile(python, re.ASCII), fullmatch=True))
    if re2.fullmatch(source, text) is None:
        # Python's `$` also stands before a last newline.
        assert text.endswith("\n")
        return
    beginnings = re2.compile(f"(?:{prefixes(source)})\\z")
    for end in range(len(text) + 1):
        assert beginnings.match(text[:end]) is not None, text[:end]


@pytest.mark.parametrize(
    ("source", "dead"),
    [("foobar", "fob"), (r"\bfoo\b", "foox"), ("a{2,3}b", "aaaa"), ("(?i)sk-[a-z]{2}", "sk_"), ("[^a]b", "a")],
)
def test_what_cannot_become_a_match_is_let_go(source, dead):
    assert re2.compile(f"(?:{prefixes(source)})\\z").match(dead) is None


def test_every_built_in_pattern_has_beginnings_that_compile():
    for module in (_pii, _secrets, _tricks):
        for patterns in module.PATTERNS.values():
            for pattern in patterns:
                assert re2.compile(f"(?:{prefixes(pattern.regex)})\\z").match("") is not None


def test_a_long_pattern_compiles():
    checker = compile_checks([Patterns(patterns={"long": "abcdefghij" * 300})])
    assert checker.check("x" + "abcdefghij" * 300).action == "block"


def test_single_bytes_are_refused():
    with pytest.raises(ValueError, match="single byte"):
        prefixes(r"a\Cb")
