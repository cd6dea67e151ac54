"""A request, made again from what its trace kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.types.traces import Trace, Turn

_CUT = "…"
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*(?:[:_#-][0-9A-Za-z]+)?\]")
"""What stands for a value that was found in a text."""
_OPERATIONS = ("", "chat", "response")
_PLAIN = ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop", "n", "tool_choice")


class CannotReplay(ValueError):
    """The trace does not hold what a replay takes; the message says what."""


@dataclass
class Rebuilt:
    """A request as `chat` takes it.

    Attributes:
        messages: with roles, texts and calls of tools.
        options: keyword arguments of `chat`.
        missing: what the record lacks, so that a difference may come from that.
        random: why two runs of the same request may differ; empty where they may not.
    """

    messages: list[dict[str, Any]]
    options: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    random: str = ""

    @property
    def exact(self) -> bool:
        """Whether deterministic stages must come out the same."""
        return not self.missing and not self.random


def rebuild(trace: Trace, *, model: str | None = None, against: str | None = None) -> Rebuilt:
    """The request of a trace.

    Args:
        trace: with its content.
        model: of the new run; by default the same.
        against: deployment that answers instead of routing; needs a key with the scope `admin`.

    Raises:
        CannotReplay: no content was kept, it was no chat, or a part that a replay needs is not text.
    """
    content = trace.content
    if trace.thinned:
        raise CannotReplay("its spans and content are gone: nothing marked it (services.tracing.thin)")
    if content is None or content.capture == "off" or not content.input:
        raise CannotReplay("its content was not kept (telemetry.content is `off`, or its retention has passed)")
    options = _options(content.options_json)
    operation = str(options.get("operation", ""))
    if operation not in _OPERATIONS:
        raise CannotReplay(f"it is a {operation}; chats and responses can be replayed")
    missing: list[str] = []
    replaced = sum(len(_PLACEHOLDER.findall(turn.text)) for turn in content.input)
    if content.capture != "full" and replaced:
        missing.append(f"{replaced} places in its texts were replaced before they were kept (personal data, secrets)")
    messages = [_message(turn, number, missing) for number, turn in enumerate(content.input)]
    sampling = options.get("sampling", {})
    made: dict[str, Any] = {name: sampling[name] for name in _PLAIN if name in sampling}
    if "seed" in sampling:
        made["seed"] = int(sampling["seed"])  # 64 bits are text in protobuf's JSON
    if sampling.get("tools"):
        made["tools"] = [_tool(tool) for tool in sampling["tools"]]
    if form := _format(sampling.get("response_format") or {}, missing):
        made["response_format"] = form
    for name in ("top_k", "top_logprobs", "parallel_tool_calls"):
        if name in sampling:
            missing.append(f"the option {name}, which was {sampling[name]!r}, is not sent again")
    for name in ("collections", "guardrails", "route"):
        if options.get(name):
            made[name] = options[name]
    made["model"] = (
        model
        or (trace.summary.model if trace.summary else "")
        or (trace.root.attributes.get("gen_ai.request.model", "") if trace.root else "")
    )
    if not made["model"]:
        raise CannotReplay("its model is not known: give one with --model")
    if against:
        made["route"] = against
    made["cache"] = "bypass"
    temperature = sampling.get("temperature")
    random = "" if temperature == 0 or "seed" in sampling else "its temperature is not 0 and it gave no seed"
    return Rebuilt(messages, made, missing, random)


def _options(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _message(turn: Turn, number: int, missing: list[str]) -> dict[str, Any]:
    if turn.text.endswith(_CUT):
        missing.append(f"message {number + 1} was cut: it was longer than a trace keeps")
    made: dict[str, Any] = {"role": turn.role, "content": turn.text}
    calls = []
    for part in json.loads(turn.more_json) if turn.more_json else []:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_call":
            function = {"name": part.get("name", ""), "arguments": part.get("arguments", "")}
            calls.append({"id": part.get("id", ""), "type": "function", "function": function})
        elif kind == "image" and part.get("url"):
            text = [{"type": "text", "text": turn.text}] if turn.text else []
            before = made["content"] if isinstance(made["content"], list) else text
            made["content"] = [*before, {"type": "image_url", "image_url": {"url": part["url"]}}]
        else:
            raise CannotReplay(f"message {number + 1} had a part that traces do not keep: {kind or 'unknown'}")
    if calls:
        made["tool_calls"] = calls
    if turn.role == "tool":
        missing.append(f"message {number + 1}: which call it answers is not kept")
    return made


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.get("name", "")}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("parameters_json"):
        function["parameters"] = json.loads(tool["parameters_json"])
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _format(given: Mapping[str, Any], missing: list[str]) -> dict[str, Any] | None:
    kind = given.get("type")
    if kind == "json_object":
        return {"type": "json_object"}
    if kind == "json_schema":
        schema = json.loads(given.get("schema_json") or "{}")
        return {"type": "json_schema", "json_schema": {"name": given.get("name") or "answer", "schema": schema}}
    if kind == "regex":
        missing.append("the pattern that the answer had to match is not sent again")
    return None
