"""What the suite asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace_inference.ports import Generation

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    """A response format."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def constant_schema(value: str) -> dict[str, Any]:
    """A form that has one answer."""
    return schema_format(
        {
            "type": "object",
            "properties": {"id": {"type": "string", "const": value}},
            "required": ["id"],
            "additionalProperties": False,
        }
    )


REFUSALS: dict[str, Callable[[Any], Generation]] = {
    "prompt": lambda subject: subject.bare("One, two,", max_tokens=2),
    "n": lambda subject: subject.chat("Hi", max_tokens=2, n=2),
    "logprobs": lambda subject: subject.chat("Hi", max_tokens=2, top_logprobs=1),
    "json_schema": lambda subject: subject.chat("Hi", max_tokens=9, response_format=constant_schema("a")),
    "json_object": lambda subject: subject.chat("Hi", max_tokens=9, response_format={"type": "json_object"}),
    "regex": lambda subject: subject.chat("Hi", max_tokens=9, response_format={"type": "regex", "regex": "[ab]+"}),
    "tools": lambda subject: subject.chat("Hi", max_tokens=9, tools=(WEATHER,)),
    "tool_choice": lambda subject: subject.chat("Hi", max_tokens=9, tools=(WEATHER,), tool_choice="required"),
    "top_k": lambda subject: subject.chat("Hi", max_tokens=2, top_k=10),
    "presence_penalty": lambda subject: subject.chat("Hi", max_tokens=2, presence_penalty=0.5),
    "frequency_penalty": lambda subject: subject.chat("Hi", max_tokens=2, frequency_penalty=0.5),
    "image": lambda subject: Generation(messages=(image_message(),)),
}
"""Requests for what some engine cannot do."""


def image_message() -> dict[str, Any]:
    """A message with a picture of one pixel."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    url = {"url": f"data:image/png;base64,{pixel}"}
    return {
        "role": "user",
        "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}],
    }
