"""Response formats as grammars: what they take, what they refuse, and with which words."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace_inference.triton_models.llamacpp import grammar
from headrace_inference.triton_models.llamacpp.grammar import Guard, expanded, of_format
from headrace_inference.triton_models.llamacpp.tools import Offer
from headrace_inference.triton_models.shared.failures import RequestFailed


def schema_format(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def regex_format(regex: str) -> dict:
    return {"type": "regex", "regex": regex}


def takes(response_format: dict, text: str) -> bool:
    guard = Guard(of_format(response_format))
    try:
        for character in text:
            guard.take(character)
    except RequestFailed:
        return False
    return guard.complete()


def refused(response_format: dict) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        of_format(response_format)
    return caught.value


@pytest.mark.parametrize(
    ("regex", "good", "bad"),
    [
        (r"\d{3}-[a-z]+", ["123-abc"], ["12-a", "123-", "x123-a", "123-a "]),
        (r"^(yes|no)$", ["yes", "no"], ["yesno", "^yes$", ""]),
        (r"a?b*c+", ["c", "abbcc"], ["ab", "aac"]),
        (r"[^/\]]{2}", ["ab", "é["], ["a/", "a]"]),
        (r"a/b\/c", ["a/b/c"], ["ab/c"]),
        ("a\nb", ["a\nb"], ["anb"]),
        (r"(?i)ok", ["OK", "ok"], ["o"]),
        (r"(?P<year>[0-9]{4})(?:-[0-9]{2}){2}", ["2024-01-31"], ["2024-1-31"]),
        (r"[\w.+-]+@\w+\.(com|org)", ["a.b@c.com"], ["a.b@c.net"]),
        (r"a{2,}", ["aa", "aaaaa"], ["a"]),
        (r".", ["x", "é"], ["\n", "xx"]),
    ],
)
def test_a_regex_holds_for_the_whole_answer(regex, good, bad):
    assert [text for text in good if not takes(regex_format(regex), text)] == []
    assert [text for text in bad if takes(regex_format(regex), text)] == []


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        (r"(?=a)b", "look-around"),
        (r"(?<!a)b", "look-around"),
        (r"(a)\1", "backreferences"),
        (r"(?P<x>a)(?P=x)", "backreferences"),
        (r"\bword", "word boundaries"),
        ("a^b", "anchors inside"),
        ("[a", "unclosed character class"),
        ("a{3,1}", "repetition"),
        ("*", "repetition operator"),
        ("(x{1000}){1000}", "too large"),
        ("x{1000000}", "too large"),
    ],
)
def test_a_regex_that_cannot_be_followed_is_refused_with_the_construct(regex, reason):
    error = refused(regex_format(regex))
    assert (error.code, error.param) == ("invalid_regex", "response_format.regex")
    assert reason in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("regex", ["", None, 7])
def test_a_regex_must_be_a_text(regex):
    assert refused({"type": "regex", "regex": regex}).code == "invalid_regex"


@given(st.text(alphabet="ab/\\\n\"'#x{}[]()|*+?.^$", max_size=12))
def test_no_regex_breaks_out_of_its_grammar(regex):
    assume(regex)
    try:
        rule = of_format(regex_format(regex))
    except RequestFailed as error:
        assert error.code == "invalid_regex"
        return
    Guard(rule)


@given(st.from_regex(r"[a-c]{1,3}(x|yz)*/?", fullmatch=True))
def test_what_python_matches_is_taken(text):
    assert takes(regex_format(r"[a-c]{1,3}(x|yz)*/?"), text)


@pytest.mark.parametrize(
    ("regex", "size"),
    [("abc", 3), ("(ab){2,5}c", 11), (r"\d{4}-[a\]b]{2}", 7), ("[{3}]", 1), ("((x{1,5}){1,5}){5}", 125), ("a{3,}", 3)],
)
def test_the_size_of_a_regex_counts_its_repetitions(regex, size):
    assert expanded(regex) == size


NESTED = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"},
        "child": {"$ref": "#/$defs/child"},
        "either": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["kind", "code", "child", "either"],
    "additionalProperties": False,
    "$defs": {"child": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}},
}


def test_nested_schemas_with_references_enums_and_patterns_hold():
    good = {"kind": "b", "code": "AB7", "child": [True, False], "either": None}
    assert takes(schema_format(NESTED), json.dumps(good))
    assert takes(schema_format(NESTED), json.dumps(good, indent=2))
    for change in ({"kind": "c"}, {"code": "7"}, {"child": [True] * 3}, {"either": "x"}, {"more": 1}):
        assert not takes(schema_format(NESTED), json.dumps({**good, **change})), change
    assert not takes(schema_format(NESTED), json.dumps(good) + "x")


def test_a_json_object_is_an_object_with_whatever_white_space_the_engine_took():
    assert takes({"type": "json_object"}, '{"a": [1, {"b": null}]}')
    assert not takes({"type": "json_object"}, "[1]")
    assert takes({"type": "json_object"}, "{\n" + " " * 60 + '"a": 1}')
    assert takes(schema_format({"const": '"whitespace_pattern": "'}), json.dumps('"whitespace_pattern": "'))
    assert "{0,40}" in of_format({"type": "json_object"}), "the engine is told where to end"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strange"}, "strange"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"$ref": "https://example.com/schema.json"}, "example.com"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "string", "pattern": "(?!a)b"}, "look-around"),
        ({"type": "object", "properties": {"a": {"pattern": "(x{1000}){1000}"}}}, "too large"),
        ({"type": "integer", "minimum": 3, "maximum": 1}, "minimum"),
        ({"enum": []}, "empty"),
        (None, "must be a JSON schema"),
        ([], "must be a JSON schema"),
        ({"const": "x" * (grammar.MAX_CHARS + 1)}, "longer than"),
    ],
)
def test_a_schema_that_cannot_be_compiled_is_refused_with_the_reason(schema, reason):
    error = refused(schema_format(schema))
    assert (error.code, error.param) == ("invalid_json_schema", "response_format.json_schema.schema")
    assert reason in error.message


def test_free_text_has_no_rule():
    assert of_format(None) is None
    assert of_format({"type": "text"}) is None


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def offer(document: dict, setting: str = "hermes", **function) -> Offer:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": PARAMETERS, **function}} for name in ("f", 'g"/x')
    ]
    return Offer({"tools": tools, **document}, setting, "{{ tools }}", plain=False)


def follows(made: Offer, answer: str | None, text: str) -> bool:
    rules = made.rules(answer)
    body = dict(rules)
    start = body.pop("start")
    guard = Guard(start + "\n" + "".join(f"{name}: {rule}\n" for name, rule in body.items()))
    try:
        guard.take(text)
    except RequestFailed:
        return False
    return guard.complete()


def said(name: str, arguments: dict) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {json.dumps(arguments)}}}\n</tool_call>'


def test_an_answer_that_must_call_is_one_call_or_more_where_asked():
    one, two = said("f", {"city": "Rome"}), said('g"/x', {"city": "Oslo"})
    forced = offer({"tool_choice": "required"})
    assert follows(forced, None, one)
    assert follows(forced, None, two), "names are taken literally"
    assert not follows(forced, None, one + "\n" + two)
    assert not follows(forced, None, "Sunny.")
    assert not follows(forced, None, said("f", {})), "arguments follow their schema"
    assert not follows(forced, None, said("f", {"city": "Rome", "more": 1})), "undeclared ones are not made up"
    assert not follows(forced, None, said("h", {"city": "Rome"}))
    assert follows(offer({"tool_choice": "required", "parallel_tool_calls": True}), None, one + "\n" + two)
    bare = offer({"tool_choice": "required"}, "json")
    assert follows(bare, None, '{"name": "f", "arguments": {"city": "Rome"}}')


def test_an_answer_in_a_format_may_be_a_call_instead():
    rule = of_format(regex_format("yes|no"))
    assert follows(offer({}), rule, "yes")
    assert follows(offer({}), rule, said("f", {"city": "Rome"}))
    assert not follows(offer({}), rule, "maybe")


def test_behind_a_tag_strict_tools_are_called_rightly_and_other_text_is_free():
    strict = offer({}, strict=True)
    assert follows(strict, None, "Just text < and {more}.")
    assert follows(strict, None, "Well:\n" + said("f", {"city": "Rome"}) + "\n" + said("f", {"city": "Oslo"}))
    assert not follows(strict, None, said("f", {"town": "Rome"}))
    assert offer({}).rules(None) is None, "free text is free where no tool is strict"


def test_messages_of_the_compiler_do_not_show_our_grammar():
    for made in (regex_format("(a"), schema_format({"type": "strange"})):
        assert not re.search(r"llguidance|start:|\(in regex\)", refused(made).message)
