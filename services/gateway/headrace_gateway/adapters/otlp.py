"""Records of requests as OTLP spans, for receivers that are not headrace's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.request_spans import CLIENT, INTERNAL, SERVER, RequestSpan, spans_of
from headrace_kit.telemetry.requests import unpacked
from headrace_kit.telemetry.tracing import VERSION

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

_KINDS = {SERVER: Span.SPAN_KIND_SERVER, CLIENT: Span.SPAN_KIND_CLIENT, INTERNAL: Span.SPAN_KIND_INTERNAL}


def export_of(records: Iterable[bytes]) -> ExportTraceServiceRequest:
    """The spans of packed records. What was said is in none of them."""
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add(schema_url=genai.SCHEMA_URL)
    named = {"service.name": "gateway", "service.namespace": "headrace", "service.version": VERSION}
    _put(made.resource.attributes, named)
    scope = made.scope_spans.add(schema_url=genai.SCHEMA_URL)
    scope.scope.name, scope.scope.version = "headrace", VERSION
    for record in map(unpacked, records):
        trace_id = bytes.fromhex(record.trace_id)
        for told in spans_of(record):
            _fill(scope.spans.add(trace_id=trace_id), told)
    return request


def _fill(span: Span, told: RequestSpan) -> None:
    span.span_id = bytes.fromhex(told.span_id)
    span.parent_span_id = bytes.fromhex(told.parent_span_id)
    span.name, span.kind, span.flags = told.name, _KINDS[told.kind], 1
    span.start_time_unix_nano, span.end_time_unix_nano = told.start_ns, told.end_ns
    _put(span.attributes, told.attributes)
    for event in told.events:
        _put(span.events.add(name=event.name, time_unix_nano=event.time_ns).attributes, event.attributes)
    for link in told.links:
        span.links.add(trace_id=span.trace_id, span_id=bytes.fromhex(link))
    if told.error:
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, told.error


def _put(into: RepeatedCompositeFieldContainer[KeyValue], attributes: Mapping[str, Any]) -> None:
    """Add attributes in place: a message that is made by itself and then copied in costs four times as much."""
    for key, value in attributes.items():
        _set(into.add(key=key).value, value)


def _set(made: AnyValue, value: Any) -> None:
    if isinstance(value, str):
        made.string_value = value
    elif isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, list):
        made.array_value.SetInParent()
        for item in value:
            _set(made.array_value.values.add(), item)
    else:
        made.string_value = str(value)
