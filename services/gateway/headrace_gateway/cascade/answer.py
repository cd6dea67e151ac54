"""A whole answer as judges read it: put together from its pieces, by choice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace_gateway.cascade.schema import conforms, is_object
from headrace_protos.common.v1.chat_pb2 import Sampling, ToolCall
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


@dataclass(slots=True)
class Choice:
    """One choice: its text, and the tools that it calls, by their place."""

    parts: list[str] = field(default_factory=list)
    calls: dict[int, ToolCall] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(self.parts)

    @property
    def said(self) -> str:
        """What can be compared with what another answer says: tools and arguments where it calls tools."""
        if not self.calls:
            return self.text
        return json.dumps([[call.name, call.arguments] for _, call in sorted(self.calls.items())])


def choices_of(chunks: Iterable[GenerateChunk]) -> list[Choice]:
    """The choices of an answer, by index."""
    found: dict[int, Choice] = {}
    for chunk in chunks:
        choice = found.setdefault(chunk.index, Choice())
        if chunk.text:
            choice.parts.append(chunk.text)
        for piece in chunk.tool_calls:
            call = choice.calls.setdefault(piece.index, ToolCall(index=piece.index))
            call.name = call.name or piece.name
            call.arguments += piece.arguments
    return [found[index] for index in sorted(found)]


def calls_allowed(choices: Iterable[Choice], sampling: Sampling) -> bool:
    """Whether all calls are of tools that the request offers, with arguments that their schemas allow."""
    schemas = {tool.name: tool.parameters_json for tool in sampling.tools}
    return all(
        call.name in schemas and conforms(call.arguments or "{}", schemas[call.name])
        for choice in choices
        for call in choice.calls.values()
    )


def has_form(choices: Iterable[Choice], sampling: Sampling) -> bool:
    """Whether each choice has the form that the request asks for; one that calls tools is no text."""
    wanted = sampling.response_format
    texts = [choice.text for choice in choices if not choice.calls]
    if wanted.type == "json_schema":
        return all(conforms(text, wanted.schema_json) for text in texts)
    return wanted.type != "json_object" or all(map(is_object, texts))
