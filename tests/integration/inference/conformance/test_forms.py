"""Answers that are held to a form, and function calls."""

from __future__ import annotations

import json
import re

import pytest
from inference_suite.answers import gather
from inference_suite.asking import WEATHER, constant_schema, schema_format

from headrace_kit.errors import BadInput


async def test_an_answer_keeps_to_a_json_schema(subject):
    subject.needs("json_schema")
    asked = subject.chat("Which one?", max_tokens=40, response_format=constant_schema("item-7"))
    answer = await gather(subject.engine, asked)
    assert json.loads(answer.text) == {"id": "item-7"}
    assert answer.finish == "stop"


async def test_a_schema_that_cannot_be_compiled_is_refused(subject):
    subject.needs("json_schema")
    if reason := subject.elsewhere.get("broken_schema"):
        pytest.skip(reason)
    with pytest.raises(BadInput) as refused:
        await gather(
            subject.engine, subject.chat("x", max_tokens=4, response_format=schema_format({"type": "strange"}))
        )
    assert refused.value.code == "invalid_json_schema"


async def test_an_answer_is_json_where_no_schema_is_given(subject):
    subject.needs("json_object")
    asked = subject.chat("Answer as JSON.", max_tokens=200, temperature=0, response_format={"type": "json_object"})
    answer = await gather(subject.engine, asked)
    if answer.finish == "stop":
        assert isinstance(json.loads(answer.text), dict)
    else:
        assert answer.text.lstrip().startswith("{")


async def test_an_answer_keeps_to_a_regular_expression(subject):
    subject.needs("regex")
    form = {"type": "regex", "regex": "[ab]{2}[0-9]{2}"}
    answer = await gather(subject.engine, subject.chat("Say a code.", max_tokens=20, response_format=form))
    assert re.fullmatch(form["regex"], answer.text)


async def test_a_function_is_called_with_arguments(subject):
    subject.needs("tools")
    asked = subject.chat(
        "What is the weather in Paris?", max_tokens=80, temperature=0, tools=(WEATHER,), tool_choice=subject.tool_choice
    )
    (choice,) = (await gather(subject.engine, asked)).choices.values()
    ((name, arguments),) = choice.calls
    assert name == "get_weather"
    assert isinstance(json.loads(arguments)["city"], str)
    assert choice.finish == "tool_calls"
    ids = [call.id for chunk in choice.chunks for call in chunk.tool_calls if call.id]
    assert len(ids) == 1, "the id comes once"
    assert "<tool_call>" not in choice.text


async def test_tools_are_not_called_where_none_may_be(subject):
    subject.needs("tools")
    asked = subject.chat("Hello!", max_tokens=12, temperature=0, tools=(WEATHER,), tool_choice="none")
    (choice,) = (await gather(subject.engine, asked)).choices.values()
    assert choice.calls == []
    assert choice.text
