"""Tool calls in an answer that comes in pieces, cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_inference.triton_models.llamacpp.tool_parser import ToolParser

CALL = '{"name": "f", "arguments": {"a": "}\\"{ <tool_call>"}}'
FOUND = ("f", {"a": '}"{ <tool_call>'})
PARTS = [
    "<tool_call>",
    "</tool_call>",
    "```",
    "```json\n",
    "json",
    "\n",
    " ",
    CALL,
    '{"name": "f"',
    '{"name": "unknown", "arguments": {}}',
    '"arguments"',
    "[",
    "]",
    "{",
    "}",
    '"',
    "\\",
    ", ",
    "é",
    "words",
]


def parse(pieces: list[str], limit: int | None = None) -> tuple[str, list[tuple[str, dict]], list[dict]]:
    parser = ToolParser(("f", "g"), limit)
    said, calls = "", []
    for text, found in [*(parser.feed(piece) for piece in pieces), parser.end()]:
        said += text
        calls += found
    return said, [(call["name"], json.loads(call["arguments"])) for call in calls], calls


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("answer", "said", "calls"),
    [
        ("hi", "hi", 0),
        ("  hi\n\n", "  hi\n\n", 0),
        (CALL, "", 1),
        (f"<tool_call>\n{CALL}\n</tool_call>", "", 1),
        (f"Sure!\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>", "Sure!\n", 2),
        (f"<tool_call>\n{CALL}\n</tool_call> done", " done", 1),
        (f"```json\n{CALL}\n```", "", 1),
        (f"```json\n{CALL}\n{CALL}\n```\n", "", 2),
        (f"Look:\n```json\n{CALL}\n```", "Look:\n", 1),
        (f"[{CALL}, {CALL}]", "", 2),
        ('{"type": "function", "function": {"name": "f", "parameters": {"a": "}\\"{ <tool_call>"}}}', "", 1),
        (json.dumps({"name": "f", "arguments": json.dumps(FOUND[1])}), "", 1),
        (f"<tool_call>\n{CALL}\n</tool", "", 1),
        (f"<tool_call>{CALL}", "", 1),
    ],
)
def test_calls_come_out_of_the_text_in_every_form(answer, said, calls):
    assert parse([answer])[:2] == (said, [FOUND] * calls)
    assert parse(list(answer))[:2] == (said, [FOUND] * calls)


@pytest.mark.parametrize(
    "answer",
    [
        '```json\n{"a": 1}\n```',
        "```python\nprint()\n```",
        '{"name": "unknown", "arguments": {}}',
        "<tool_call>oops</tool_call>",
        f"<tool_call>\n{CALL[:-2]}",
        '{"name": "f", "arguments": {"x": NaN}}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "other": 1}',
        '{"name": "f", "arguments": {"a": }}',
        '{"arguments": ' + "[" * 5000,
        f"Say {CALL} to call it.",
        "a < b ` c <tool",
        "[a link](x) and `code`",
        "{}",
        "",
    ],
)
def test_what_is_no_call_is_text_to_the_letter(answer):
    assert parse([answer])[:2] == (answer, [])
    assert parse(list(answer))[:2] == (answer, [])


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.lists(st.integers(min_value=0), max_size=8))
def test_what_comes_out_does_not_depend_on_where_it_was_cut(parts, places):
    answer = "".join(parts)
    whole = parse([answer])[:2]
    assert parse(cut(answer, places))[:2] == whole
    assert parse(list(answer))[:2] == whole


@given(st.text(alphabet="ab <`{[\n", max_size=40), st.lists(st.integers(min_value=0), max_size=8))
def test_nothing_is_lost_or_added_where_there_is_no_call(answer, places):
    assert parse(cut(answer, places))[:2] == (answer, [])


def test_text_is_held_back_only_while_it_may_become_a_call():
    parser = ToolParser(("f",))
    assert parser.feed("It is 5 ") == ("It is 5 ", [])
    assert parser.feed("<") == ("", [])
    assert parser.feed("tool_c") == ("", [])
    assert parser.feed("rate> ok") == ("<tool_crate> ok", [])
    assert parser.feed("\n```") == ("\n", [])
    assert parser.feed("py") == ("```py", [])
    bare = ToolParser(("f",))
    assert bare.feed('{"na') == ("", [])
    assert bare.feed('tion": 1') == ('{"nation": 1', []), "no call begins like that: it is not held to its end"
    named = ToolParser(("f",))
    assert named.feed('{"name": "fo') == ("", [])
    assert named.feed('x"') == ('{"name": "fox"', [])


def test_ids_are_unique_and_calls_counted():
    _, _, calls = parse([f"{CALL}\n" * 5])
    assert [call["index"] for call in calls] == [0, 1, 2, 3, 4]
    assert len({call["id"] for call in calls}) == 5
    assert all(call["id"].startswith("call_") for call in calls)


def test_calls_beyond_the_limit_are_dropped():
    assert parse([f"{CALL}\n{CALL} and more"], limit=1)[:2] == (" and more", [FOUND])


def test_a_long_argument_is_read_once():
    long = json.dumps({"name": "f", "arguments": {"a": "x" * 200_000}})
    said, calls, _ = parse([long[at : at + 4] for at in range(0, len(long), 4)])
    assert (said, len(calls[0][1]["a"])) == ("", 200_000)
