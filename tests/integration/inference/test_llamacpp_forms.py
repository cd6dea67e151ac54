"""Answers in a form, and calls of tools, from real models."""

from __future__ import annotations

import json
import re

import pytest
import pytest_asyncio
from inference_suite.answers import gather
from inference_suite.asking import WEATHER, schema_format
from inference_suite.gguf_files import write_with_template
from inference_suite.local import chat, loaded, weights

from headrace_kit.errors import BadInput

pytestmark = pytest.mark.asyncio(loop_scope="module")
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Current time of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED = "What is the weather in Paris?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small():
    async with loaded({"model": weights("small")}, slots=2) as engine:
        yield engine


@pytest.mark.parametrize(
    "regex",
    [
        r"\d{4}-\d{2}-\d{2}",
        r"(red|green|blue)(, (red|green|blue)){2}",
        r"^[A-Z][a-z]+ (is|was) [^.]{5,40}\.$",
        r"https?://[\w.-]{3,20}/[a-z]{1,8}",
        r"(?i)(yes|no)!{1,3}",
    ],
)
async def test_an_answer_matches_its_regex_as_a_whole(small, regex):
    whole = await gather(small, chat(ASKED, max_tokens=60, response_format={"type": "regex", "regex": regex}))
    assert whole.finish == "stop"
    assert re.fullmatch(regex, whole.text)


async def test_a_sampled_answer_keeps_to_its_regex_too(small):
    asked = chat(
        "Count.",
        max_tokens=40,
        temperature=1.5,
        seed=3,
        n=2,
        response_format={"type": "regex", "regex": "[0-9]{3}-x+y"},
    )
    whole = await gather(small, asked)
    for choice in whole.choices.values():
        pattern = "[0-9]{3}-x+y" if choice.finish == "stop" else "[0-9]{0,3}-?x*y?"
        assert re.fullmatch(pattern, choice.text)


async def test_nested_schemas_with_references_enums_and_patterns_are_kept_to(small):
    schema = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{2}$"},
            "mood": {"enum": ["good", "bad"]},
            "where": {"$ref": "#/$defs/place"},
        },
        "required": ["code", "mood", "where"],
        "additionalProperties": False,
        "$defs": {
            "place": {
                "type": "object",
                "properties": {"floor": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["floor"],
                "additionalProperties": False,
            }
        },
    }
    whole = await gather(small, chat("Describe a room.", max_tokens=120, response_format=schema_format(schema)))
    made = json.loads(whole.text)
    assert re.fullmatch("[A-Z]{2}[0-9]{2}", made["code"])
    assert made["mood"] in ("good", "bad")
    assert 1 <= made["where"]["floor"] <= 9
    assert set(made) == {"code", "mood", "where"}


@pytest.mark.parametrize(
    ("response_format", "code", "param"),
    [
        (schema_format({"type": "strange"}), "invalid_json_schema", "response_format.json_schema.schema"),
        ({"type": "regex", "regex": "(?=a)"}, "invalid_regex", "response_format.regex"),
        ({"type": "xml"}, "unsupported", "response_format.type"),
    ],
)
async def test_a_form_that_cannot_be_had_is_refused_by_name(small, response_format, code, param):
    with pytest.raises(BadInput) as caught:
        await gather(small, chat(ASKED, response_format=response_format))
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_a_model_without_tools_in_its_template_calls_them(small):
    whole = await gather(small, chat(ASKED, max_tokens=80, tools=(WEATHER,), tool_choice="required"))
    ((name, arguments),) = whole.choices[0].calls
    assert (name, whole.finish, whole.text) == ("get_weather", "tool_calls", "")
    assert "city" in json.loads(arguments)
    named = await gather(small, chat(ASKED, max_tokens=80, tools=(WEATHER, TIME), tool_choice="get_time"))
    assert [name for name, _ in named.choices[0].calls] == ["get_time"]


async def test_a_template_with_a_form_of_its_own_calls_tools_too(tmp_path):
    template = (
        "{%- if tools %}<|im_start|>system\nFunctions: {{ tools | tojson }}<|im_end|>\n{% endif %}"
        "{%- for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.tool_calls %}{% for c in m.tool_calls %}"
        '[TOOL]{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}[/TOOL]'
        "{% endfor %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    model = write_with_template(weights("small"), tmp_path / "model.gguf", template)
    async with loaded({"model": model}, slots=1) as engine:
        forced = await gather(engine, chat(ASKED, max_tokens=60, tools=(WEATHER,), tool_choice="required"))
        assert [name for name, _ in forced.choices[0].calls] == ["get_weather"]
        free = await gather(engine, chat(ASKED, max_tokens=8, tools=(WEATHER,)))
        assert free.finish in ("stop", "length", "tool_calls")


async def test_the_coder_calls_by_itself_and_twice_where_asked():
    async with loaded({"model": weights("large")}, slots=1) as engine:
        assert (await gather(engine, chat(ASKED, max_tokens=60, tools=(WEATHER, TIME)))).choices[0].calls[0][
            0
        ] == "get_weather"
        both = f"{ASKED} And what time is it in Rome?"
        asked = chat(both, max_tokens=100, tools=(WEATHER, TIME), tool_choice="required", parallel_tool_calls=True)
        whole = await gather(engine, asked)
        assert [name for name, _ in whole.choices[0].calls] == ["get_weather", "get_time"]
        assert [json.loads(arguments)["city"] for _, arguments in whole.choices[0].calls] == ["Paris", "Rome"]
        plain = await gather(engine, chat("What is 2+2? Answer in one word.", tools=(WEATHER, TIME)))
        assert (plain.choices[0].calls, plain.finish) == ([], "stop")
        assert plain.text
        # Its fenced answers must not leave half a fence in the text.
        fenced = await gather(engine, chat(ASKED, max_tokens=60, tools=(WEATHER, TIME)))
        assert (fenced.text, fenced.finish) == ("", "tool_calls")
