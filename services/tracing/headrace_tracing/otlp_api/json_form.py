"""OTLP's JSON: protobuf's own mapping, but with ids in hexadecimal.

Source: opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace_kit.errors import BadInput

_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def parse_json(raw: bytes) -> ExportTraceServiceRequest:
    """The message that a JSON text is. Raises BadInput."""
    try:
        given = json.loads(raw)
        for span in _spans(given):
            _in_base64(span)
            for link in span.get("links", ()):
                _in_base64(link)
        made = ExportTraceServiceRequest()
        json_format.ParseDict(given, made, ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.ParseError) as error:
        raise BadInput("this is no ExportTraceServiceRequest in OTLP's JSON", code="malformed_otlp") from error
    return made


def _spans(given: Any) -> Iterator[Any]:
    for of_resource in given.get("resourceSpans", given.get("resource_spans", ())):
        for of_scope in of_resource.get("scopeSpans", of_resource.get("scope_spans", ())):
            yield from of_scope.get("spans", ())


def _in_base64(holder: dict[str, Any]) -> None:
    for name in _IDS:
        if name in holder:
            try:
                holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
            except ValueError:
                holder[name] = ""  # told as a bad id, and the other spans are taken
