"""OTLP as both doors take it: what an export may be, and how its answer is told."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headrace_protos.tracing.v1.messages_pb2 import ExportSpansResponse

PROTOBUF = "application/x-protobuf"
MAX_EXPORT_BYTES = 4_194_304


def taken_as(taken: ExportSpansResponse) -> ExportTraceServiceResponse:
    """What tracing took of an export, as the protocol tells it."""
    made = ExportTraceServiceResponse()
    if taken.rejected:
        made.partial_success.rejected_spans, made.partial_success.error_message = taken.rejected, taken.message
    return made
