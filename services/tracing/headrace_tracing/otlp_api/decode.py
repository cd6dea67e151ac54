"""From OTLP's messages to spans."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from headrace_kit.errors import BadInput
from headrace_kit.telemetry import genai
from headrace_tracing.domain.spans import KINDS, STATUSES, Span, SpanEvent

_KINDS = {
    trace_pb2.Span.SPAN_KIND_UNSPECIFIED: KINDS[0],
    trace_pb2.Span.SPAN_KIND_INTERNAL: KINDS[0],
    trace_pb2.Span.SPAN_KIND_SERVER: KINDS[1],
    trace_pb2.Span.SPAN_KIND_CLIENT: KINDS[2],
    trace_pb2.Span.SPAN_KIND_PRODUCER: KINDS[3],
    trace_pb2.Span.SPAN_KIND_CONSUMER: KINDS[4],
}
LATEST_NS = 2**63 - 1
"""The last moment that a span may have."""
OURS = "headrace"
"""`service.namespace` of headrace's own services."""
DEPTH = 16
"""Lists and maps within each other, of a value."""
MOST_LINKS = 128
"""Links of a span that are kept."""


@dataclass(slots=True)
class Decoded:
    """The usable spans of an export, whether headrace's own services made them, and how many were not, by reason."""

    spans: list[Span] = field(default_factory=list)
    ours: list[bool] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def why(self) -> str:
        """What the sender is told of spans that were left out."""
        return "spans rejected: " + ", ".join(
            f"{count} with a {reason}" for reason, count in sorted(self.rejected.items())
        )


def parse(raw: bytes) -> ExportTraceServiceRequest:
    """The message that bytes are. Raises BadInput."""
    try:
        return ExportTraceServiceRequest.FromString(raw)
    except DecodeError as error:
        raise BadInput("this is no ExportTraceServiceRequest", code="malformed_otlp") from error


def decode(request: ExportTraceServiceRequest) -> Decoded:
    """The spans of an export. A span without a tenant of its own takes the one of its resource."""
    result = Decoded()
    for of_resource in request.resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        service, tenant = _text(resource.get("service.name")), _text(resource.get(genai.TENANT))
        ours = resource.get("service.namespace") == OURS
        for of_scope in of_resource.scope_spans:
            for sent in of_scope.spans:
                problem = _problem(sent)
                if problem:
                    result.rejected[problem] += 1
                else:
                    result.spans.append(_span(sent, service, tenant))
                    result.ours.append(ours)
    return result


def _problem(sent: trace_pb2.Span) -> str:
    if len(sent.trace_id) != 16 or not any(sent.trace_id):
        return "bad trace id"
    if len(sent.span_id) != 8 or not any(sent.span_id):
        return "bad span id"
    if not 0 < sent.start_time_unix_nano <= LATEST_NS or sent.end_time_unix_nano > LATEST_NS:
        return "bad time"
    return ""


def _span(sent: trace_pb2.Span, service: str, tenant: str) -> Span:
    attributes = _attributes(sent.attributes)
    parent = sent.parent_span_id if len(sent.parent_span_id) == 8 and any(sent.parent_span_id) else b""
    return Span(
        trace_id=sent.trace_id.hex(),
        span_id=sent.span_id.hex(),
        parent_span_id=parent.hex(),
        tenant=_text(attributes.get(genai.TENANT)) or tenant,
        service=service,
        name=sent.name,
        kind=_KINDS.get(sent.kind, KINDS[0]),
        start_ns=sent.start_time_unix_nano,
        # A clock that was set back during the span makes no negative durations.
        end_ns=max(sent.start_time_unix_nano, sent.end_time_unix_nano),
        status=STATUSES[sent.status.code] if sent.status.code < len(STATUSES) else STATUSES[0],
        status_message=sent.status.message,
        attributes=attributes,
        events=tuple(
            SpanEvent(event.name, min(event.time_unix_nano, LATEST_NS), _attributes(event.attributes))
            for event in sent.events
        ),
        links=tuple(
            (link.trace_id.hex(), link.span_id.hex())
            for link in sent.links[:MOST_LINKS]
            if len(link.trace_id) == 16 and len(link.span_id) == 8
        ),
    )


def _text(value: Any) -> str:
    return value.replace("\0", "") if isinstance(value, str) else ""


def _attributes(pairs: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    return {pair.key: _value(pair.value, depth) for pair in pairs}


def _value(value: AnyValue, depth: int) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            # JSON has no infinities
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value" if depth < DEPTH:
            return [_value(item, depth + 1) for item in value.array_value.values]
        case "kvlist_value" if depth < DEPTH:
            return _attributes(value.kvlist_value.values, depth + 1)
        case _:
            return None
