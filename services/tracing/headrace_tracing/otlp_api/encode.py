"""From spans, as they are stored, back to OTLP's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.spans import KINDS, STATUSES, Span
from headrace_tracing.otlp_api.decode import OURS

_encode = msgspec.json.Encoder().encode


def encode(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """Spans by their services. Contents become attributes again, under the names of the GenAI conventions."""
    request = ExportTraceServiceRequest()
    scopes: dict[str, trace_pb2.ScopeSpans] = {}
    for span in spans:
        if span.service not in scopes:
            of_resource = request.resource_spans.add(schema_url=genai.SCHEMA_URL)
            named = {"service.name": span.service, "service.namespace": OURS}
            of_resource.resource.attributes.extend(_attributes(named))
            scopes[span.service] = of_resource.scope_spans.add(schema_url=genai.SCHEMA_URL)
        _fill(scopes[span.service].spans.add(), span)
    return request


def _fill(made: trace_pb2.Span, span: Span) -> None:
    made.trace_id, made.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
    made.parent_span_id = bytes.fromhex(span.parent_span_id)
    made.name = span.name
    made.kind = trace_pb2.Span.SpanKind.ValueType(KINDS.index(span.kind) + 1)
    made.start_time_unix_nano, made.end_time_unix_nano = span.start_ns, span.end_ns
    made.status.code = trace_pb2.Status.StatusCode.ValueType(STATUSES.index(span.status))
    made.status.message = span.status_message
    made.attributes.extend(_attributes({genai.TENANT: span.tenant, **span.attributes}))
    if span.content is not None:
        made.attributes.extend(_attributes(_content(span.content)))
    for event in span.events:
        told = made.events.add(name=event.name, time_unix_nano=event.time_ns)
        told.attributes.extend(_attributes(event.attributes))
    for trace_id, span_id in span.links:
        made.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id))


def _content(content: Content) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if content.input:
        made[genai.INPUT_MESSAGES] = _messages(content.input)
    if content.output:
        made[genai.OUTPUT_MESSAGES] = _messages(content.output)
    if content.passages:
        made[genai.PASSAGES] = _encode(content.passages).decode()
    if content.options:
        made[genai.OPTIONS] = content.options
    return made


def _messages(turns: Sequence[Turn]) -> str:
    """Turns in the shape of the GenAI conventions, as JSON text."""
    made = []
    for turn in turns:
        parts: list[Any] = [{"type": "text", "content": turn.text}] if turn.text else []
        more = msgspec.json.decode(turn.more) if turn.more else []
        parts += more if isinstance(more, list) else [more]
        made.append({"role": turn.role, "parts": parts})
    return _encode(made).decode()


def _attributes(given: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in given.items() if value is not None]


def _value(value: Any) -> AnyValue:
    made = AnyValue()
    if isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, Mapping):
        made.kvlist_value.values.extend(_attributes(value))
    elif isinstance(value, list | tuple):
        made.array_value.values.extend(_value(item) for item in value)
    else:
        made.string_value = str(value)
    return made
