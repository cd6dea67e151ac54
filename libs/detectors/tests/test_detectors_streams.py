"""However a text is cut into pieces, what comes out is what the whole text gives, and nothing leaks."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_detectors import (
    HOLD_BYTES,
    Action,
    BanList,
    Length,
    Patterns,
    Pii,
    Secrets,
    Session,
    Tricks,
    compile_checks,
)

ALL = compile_checks(
    [
        Tricks(),
        Pii(),
        Secrets(),
        BanList(words=("Project Falcon", "falcon", "naïve", "C++", "機密"), action=Action.MASK),
        Patterns(patterns={"ticket": r"(?i)\bTICK-\d+", "line": r"(?m)^note:.*$", "any": "@{3,}x"}, action=Action.MASK),
        Length(max_chars=150, action=Action.FLAG),
    ]
)
PLANTED = [
    "ana.lopez@example.org",
    "+49 170 1234567",
    "(212) 555-0199",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    "123-45-6789",
    "203.0.113.77",
    "2001:db8:85a3::8a2e:370:7334",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1B2c3D4e5" * 4,
    "sk-proj-abc123def456ghi789jkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEA\n-----END PRIVATE KEY-----",
    "Project  Falcon",
    "naïve",
    "TICK-4711",
]
FILLER = [
    " ", ", ", ". ", "\n", "the answer is ", "in 2024 ", "see 12 of 40", "call ", "token", "password: ", "jörg ", "x",
    "\u200b", "👩\u200d💻", "ﬁ", "機密", "a@", "@@@@", "note: no\n", "12 34 ", "DE", "sk-", "-----BEGIN ", "C++",
    "\u202e",
]  # fmt: skip


def pieces(text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def streamed(checker, parts, session=None):
    stream = checker.stream(session)
    out = [stream.feed(part) for part in parts]
    out.append(stream.finish())
    return stream, "".join(out)


@given(
    words=st.lists(st.sampled_from(FILLER + PLANTED) | st.text(max_size=3), max_size=14),
    cuts=st.lists(st.integers(0, 400), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_any_split_gives_what_the_whole_text_gives(words, cuts):
    text = "".join(words)
    whole = ALL.check(text)
    stream, out = streamed(ALL, pieces(text, cuts))
    assert out == whole.text
    assert stream.findings == whole.findings
    assert stream.action == whole.action


@given(
    planted=st.lists(st.sampled_from(PLANTED), min_size=1, max_size=4, unique=True),
    fillers=st.lists(st.sampled_from([" ", ", ", "\n", " and then ", " in 2024: ", " (see "]), min_size=5, max_size=5),
    cuts=st.lists(st.integers(0, 500), max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_nothing_planted_gets_out(planted, fillers, cuts):
    text = "so" + "".join(filler + value for filler, value in zip(fillers, planted, strict=False)) + fillers[-1]
    _, out = streamed(ALL, pieces(text, cuts))
    for value in planted:
        assert value not in out


@pytest.mark.parametrize("value", PLANTED)
def test_one_character_at_a_time(value):
    text = f"It is {value} indeed."
    stream, out = streamed(ALL, list(text))
    assert value not in out
    assert out.startswith("It is [") and out.endswith("] indeed.")
    assert [text[found.start : found.end] for found in stream.findings] == [value]


def test_ordinary_text_is_hardly_held_back():
    text = "Reserve the small room for Tuesday at 10:30; 12 of us come, and 3 bring a laptop of their own. " * 5
    stream = ALL.stream()
    held = []
    for at in range(0, len(text), 4):
        stream.feed(text[at : at + 4])
        held.append(stream.held_chars)
    assert sorted(held)[len(held) // 2] <= 20


def test_the_hold_is_bounded_whatever_the_pattern():
    checker = compile_checks([Patterns(patterns={"all": r"<.*>"}, action=Action.MASK)])
    stream = checker.stream()
    text = "<" + "é" * (3 * HOLD_BYTES)
    out = "".join(stream.feed(part) for part in pieces(text, range(0, len(text), 1000)))
    assert stream.held_chars <= HOLD_BYTES
    assert out + stream.finish() == text == checker.check(text).text


@given(st.integers(HOLD_BYTES - 20, HOLD_BYTES + 40), st.lists(st.integers(0, 2 * HOLD_BYTES), max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_match_longer_than_the_hold_is_cut_the_same_way(size, cuts):
    checker = compile_checks([Patterns(patterns={"run": r"\b[a-z]+\b|<[^>]*>"}, action=Action.MASK)])
    for text in ("x " + "a" * size + "1 end", "x <" + "é" * (size // 2) + "> y"):
        whole = checker.check(text)
        stream, out = streamed(checker, pieces(text, cuts))
        assert (out, stream.findings) == (whole.text, whole.findings)


@given(st.lists(st.integers(0, 60), max_size=12))
@settings(max_examples=100, deadline=None)
def test_a_block_ends_the_stream_before_what_it_blocks(cuts):
    checker = compile_checks([Pii(kinds=("email",)), BanList(words=("falcon",), action=Action.BLOCK)])
    text = "Ask ana@example.org about the falcon, please."
    stream, out = streamed(checker, pieces(text, cuts))
    assert stream.blocked
    assert "Ask [EMAIL_1] about the ".startswith(out)
    assert stream.findings[-1].kind == "banned"
    assert checker.check(text).text == ""


def test_after_the_end_nothing_may_come():
    stream = ALL.stream()
    stream.finish("done")
    with pytest.raises(RuntimeError, match="ended"):
        stream.feed("more")


def test_one_conversation_names_the_same_value_the_same():
    session = Session()
    assert ALL.check("I am ana@example.org", session).text == "I am [EMAIL_1]"
    _, out = streamed(ALL, ["Hi bo@example.org and AN", "A@example.org"], session)
    assert out == "Hi [EMAIL_2] and [EMAIL_1]"
