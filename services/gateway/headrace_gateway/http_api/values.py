"""Protobuf's values as JSON's, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headrace_kit.errors import BadInput

_EXACT = 2**53


def time_text(message: Message, field: str) -> str | None:
    """A timestamp field as RFC 3339; None where it is not set."""
    return getattr(message, field).ToJsonString() if message.HasField(field) else None


def shown(message: Message) -> dict[str, Any]:
    """A message as a JSON object with the proto's names: times as RFC 3339, what is unset and optional as null."""
    return {field.name: _shown(message, field) for field in message.DESCRIPTOR.fields}


def _shown(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [shown(item) for item in value] if kind else list(value)
    if field.has_presence and not message.HasField(field.name):
        return None
    if kind is None:
        return value
    if kind.full_name == Timestamp.DESCRIPTOR.full_name:
        return value.ToJsonString()
    return object_of(value) if kind.full_name == Struct.DESCRIPTOR.full_name else shown(value)


def object_of(struct: Struct) -> dict[str, Any]:
    """A struct as a JSON object. A struct knows only doubles: whole ones become integers again."""
    made: dict[str, Any] = _whole(json_format.MessageToDict(struct))
    return made


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def struct_of(value: dict[str, Any] | None, param: str) -> Struct | None:
    """A JSON object as a struct. Raises BadInput for what a struct cannot hold."""
    if value is None:
        return None
    made = Struct()
    try:
        made.update(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{param} holds a value that is no JSON value", param=param) from error
    return made


def timestamp(text: str | None, param: str) -> Timestamp | None:
    """A day or an RFC 3339 time. Raises BadInput."""
    if not text:
        return None
    try:
        # A plus sign of an offset arrives as a blank where it was not escaped.
        parsed = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        made = Timestamp()
        made.FromDatetime(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{param} is a day like 2026-11-01 or an RFC 3339 time", param=param) from error
    return made
