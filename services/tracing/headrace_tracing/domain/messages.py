"""Messages as the instrumentations of the world write them, as turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace_tracing.domain.content import Turn, plain_json

_MOST = 1000
_CALLS = ("tool_calls", "function_call")


def turns_of(value: Any, role: str) -> tuple[Turn, ...]:
    """The turns that a value holds: JSON text of messages, the messages themselves, or a bare text of `role`."""
    if isinstance(value, str):
        if not value:
            return ()
        if value[0] not in "[{":
            return (Turn(role, value),)
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            return (Turn(role, value),)
    if isinstance(value, Mapping):
        for name in ("messages", "choices", "inputs"):
            inner = value.get(name)
            if isinstance(inner, list):
                return turns_of(inner, role)
        value = [value]
    if not isinstance(value, list):
        return ()
    if value and all(isinstance(item, list) for item in value):
        value = value[0]  # LangChain's batches of one
    return tuple(_turn(item, role) for item in value[:_MOST])


def _turn(item: Any, role: str) -> Turn:
    if isinstance(item, str):
        return Turn(role, item)
    if not isinstance(item, Mapping):
        return Turn(role, more=plain_json(item))
    if isinstance(item.get("message"), Mapping):
        item = item["message"]
    texts: list[str] = []
    others: list[Any] = []
    if item.get("type") == "text" and isinstance(item.get("content"), str) and "role" not in item:
        return Turn(role, item["content"])  # a part on its own: the conventions' system instructions
    body = item.get("parts", item.get("content", item.get("text")))
    for part in body if isinstance(body, list) else [body]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            text = part.get("text", part.get("content") if part.get("type") in ("text", None) else None)
            if isinstance(text, str):
                texts.append(text)
            else:
                others.append(part)
        elif part is not None:
            others.append(part)
    others += [item[name] for name in _CALLS if item.get(name)]
    found = item.get("role")
    return Turn(found if isinstance(found, str) and found else role, "\n".join(texts), plain_json(others))


def flattened(given: Mapping[str, Any], prefix: str, role: str) -> tuple[Turn, ...]:
    """Turns of attributes like `<prefix>.<n>.message.role` (OpenInference) or `<prefix>.<n>.role` (Traceloop)."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in given.items():
        if not name.startswith(prefix + "."):
            continue
        number, _, field = name[len(prefix) + 1 :].partition(".")
        if number.isascii() and number.isdecimal() and len(number) < 5 and field:
            found.setdefault(int(number), {})[field.removeprefix("message.")] = value
    return tuple(_flat(fields, role) for _, fields in sorted(found.items())[:_MOST])


def _flat(fields: Mapping[str, Any], role: str) -> Turn:
    texts = [str(fields["content"])] if fields.get("content") else []
    others: dict[str, Any] = {}
    for name, value in sorted(fields.items()):
        if name in ("role", "content", "finish_reason"):
            continue
        if name.startswith("contents.") and name.endswith("message_content.text"):
            texts.append(str(value))
        else:
            others[name] = value
    found = fields.get("role")
    return Turn(found if isinstance(found, str) and found else role, "\n".join(texts), plain_json(others))
