"""A model's chat template, as its tokenizer files have it.

Templates are Jinja, run in a sandbox with the few names that Hugging Face's library gives them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace_inference.ports import Json
from headrace_kit.errors import BadInput, NotReady

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _Generation(Extension):
    """`{% generation %}`: marks the assistant's part for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012, as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Turns messages and tools into a prompt.

    Args:
        files: of the model: `tokenizer_config.json`, and `chat_template.jinja` where the template has its own file.

    Raises:
        NotReady: the files have no template, or one that is not valid.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        config = (
            json.loads(files["tokenizer_config.json"].read_text("utf-8")) if "tokenizer_config.json" in files else {}
        )
        sources = _sources(files, config)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], autoescape=False
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_refuse, strftime_now=_now)
        try:
            self._plain = environment.from_string(sources["default"])
            self._with_tools = environment.from_string(sources.get("tool_use", sources["default"]))
        except TemplateError as error:
            raise NotReady(f"the model's chat template is not valid: {error}", code="engine_not_ready") from error
        self._special = {name: _content(config[name]) for name in _SPECIAL if config.get(name)}
        self.takes_tools = "tools" in sources.get("tool_use", sources["default"])
        """Whether the template puts tools into the prompt."""

    @property
    def bos(self) -> str:
        """The token that begins a text, or ""."""
        return self._special.get("bos_token", "")

    def render(self, messages: Sequence[Json], tools: Sequence[Json]) -> str:
        """The prompt, up to where the assistant speaks.

        Raises:
            BadInput: the template refuses these messages, for example for their order.
        """
        template: Template = self._with_tools if tools else self._plain
        try:
            return template.render(
                messages=[_message(message) for message in messages],
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=True,
                **self._special,
            )
        except (TemplateError, UndefinedError, TypeError, ValueError, KeyError) as error:
            raise BadInput(f"the model's chat template refuses these messages: {error}", param="messages") from error


def _sources(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name; the nameless one is `default`."""
    if "chat_template.jinja" in files:
        return {"default": files["chat_template.jinja"].read_text("utf-8")}
    found = config.get("chat_template")
    if isinstance(found, str):
        return {"default": found}
    if isinstance(found, list):
        named = {str(entry["name"]): str(entry["template"]) for entry in found}
        if "default" in named:
            return named
    raise NotReady(
        "the model's files have no chat template: its catalogue entry needs tokenizer_config.json with chat_template, "
        "or chat_template.jinja",
        code="engine_not_ready",
    )


def _message(message: Json) -> dict[str, Any]:
    """As templates expect it: text as one string, arguments of function calls as objects, images without their data."""
    made = dict(message)
    content = made.get("content")
    if isinstance(content, list | tuple):
        if all(part["type"] == "text" for part in content):
            made["content"] = "\n".join(part["text"] for part in content)
        else:  # templates of models that see put their own mark where an image stands
            made["content"] = [part if part["type"] == "text" else {"type": "image"} for part in content]
    if made.get("tool_calls"):
        made["tool_calls"] = [_call(call) for call in made["tool_calls"]]
    return made


def _call(call: Json) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        function["arguments"] = json.loads(function["arguments"] or "{}")
    return {**call, "function": function}


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of Jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now(tz=datetime.UTC).strftime(form)
