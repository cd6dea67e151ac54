"""From the gateway's records of requests to spans."""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from headrace_kit.errors import BadInput
from headrace_kit.telemetry.request_spans import spans_of
from headrace_kit.telemetry.requests import Request, Unusable, unpacked
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest
from headrace_tracing.domain.content import Turn
from headrace_tracing.domain.spans import STATUSES, Span, SpanEvent
from headrace_tracing.otlp_api.decode import DEPTH, LATEST_NS, Decoded
from headrace_tracing.otlp_api.said import as_sent, content_of

_log = logging.getLogger(__name__)
_GATEWAY = "gateway"
_UNSET, _, _ERROR = STATUSES
BAD_RECORD = "bad record"


def parse_records(raw: bytes) -> list[bytes]:
    """The records in a message, packed. Raises BadInput."""
    try:
        return list(TakeRecordsRequest.FromString(raw).records)
    except DecodeError as error:
        raise BadInput("this is no TakeRecordsRequest", code="malformed_records") from error


def decode_records(records: Iterable[bytes]) -> Decoded:
    """The spans of requests. A record that is no use is logged and counted, and costs the others nothing."""
    result = Decoded()
    for raw in records:
        try:
            spans = _spans(unpacked(raw))
        except (Unusable, DecodeError) as error:
            result.rejected[BAD_RECORD] += 1
            _log.error("the spans of a request are lost: %s", error)
        except Exception:  # a defect of ours: the other requests are stored all the same
            result.rejected[BAD_RECORD] += 1
            _log.exception("the spans of a request are lost")
        else:
            result.spans += spans
            result.ours += [True] * len(spans)
    return result


def _spans(request: Request) -> list[Span]:
    """Raises Unusable, or DecodeError: what was said cannot be read."""
    content, sent = None, tuple[Turn, ...]()
    if request.said is not None:
        content, sent = content_of(request.said), as_sent(request.said)
    return [
        Span(
            trace_id=_id(request.trace_id, 32),
            span_id=_id(told.span_id, 16),
            parent_span_id=_id(told.parent_span_id, 16) if told.parent_span_id else "",
            tenant=request.tenant.replace("\0", ""),
            service=_GATEWAY,
            name=told.name,
            kind=told.kind,
            start_ns=_time(told.start_ns),
            # A clock that was set back during the span makes no negative durations.
            end_ns=_time(max(told.start_ns, told.end_ns)),
            status=_ERROR if told.error else _UNSET,
            status_message=told.error,
            attributes=_mapping(told.attributes, 0),
            events=tuple(
                SpanEvent(event.name, _time(event.time_ns), _mapping(event.attributes, 0)) for event in told.events
            ),
            links=tuple((_id(request.trace_id, 32), _id(link, 16)) for link in told.links),
            content=content if place == 0 else None,  # the root's
            sent=sent if place == 0 else (),
        )
        for place, told in enumerate(spans_of(request))
    ]


def _id(text: str, digits: int) -> str:
    try:
        number = int(text, 16) if len(text) == digits and text.isalnum() and text.isascii() else 0
    except ValueError:
        number = 0
    if not number:
        raise Unusable(f"an id of it is not {digits} hexadecimal digits")
    return text.lower()


def _time(at_ns: int) -> int:
    if not 0 < at_ns <= LATEST_NS:
        raise Unusable("a time of it is not in nanoseconds since 1970")
    return at_ns


def _mapping(given: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {
        key if isinstance(key, str) else str(key): value if type(value) is str else _value(value, depth)
        for key, value in given.items()
    }


def _value(value: Any, depth: int) -> Any:
    """A value as spans keep it: what JSON knows, and nothing too deep."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case list() if depth < DEPTH:
            return [_value(item, depth + 1) for item in value]
        case dict() if depth < DEPTH:
            return _mapping(value, depth + 1)
        case _:
            return None
