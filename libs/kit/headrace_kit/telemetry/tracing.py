"""Spans out by OTLP over gRPC, in the background."""

from __future__ import annotations

import logging

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from headrace_kit.telemetry.genai import SCHEMA_URL, TENANT

VERSION = "0.1.0"


def make_provider(service: str, otlp_address: str, sample_basis_points: int) -> TracerProvider:
    """A provider of a service's own (nothing global); call its `shutdown()` at the end to flush.

    Args:
        service: becomes `service.name`.
        otlp_address: host:port of an OTLP/gRPC receiver. While it is away spans are dropped, calls are not.
        sample_basis_points: share of traces in 1/10000, for calls that arrive without a sampling decision.
    """
    # The exporter logs a line per failed batch; an away receiver is the receiver's alarm, not every service's.
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
    sampler = ParentBasedTraceIdRatio(sample_basis_points / 10_000)
    provider = TracerProvider(sampler=sampler, resource=resource_of(service))
    exporter = OTLPSpanExporter(endpoint=otlp_address, insecure=True, timeout=5)
    provider.add_span_processor(_TenantOfParent())
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500, max_export_batch_size=512))
    return provider


def resource_of(service: str) -> Resource:
    """What a service calls itself."""
    return Resource.create({"service.name": service, "service.namespace": "headrace", "service.version": VERSION})


class _TenantOfParent(SpanProcessor):
    """Gives every span the tenant of the span it is in: traces are read by tenant."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        parent = getattr(trace.get_current_span(parent_context), "attributes", None) or {}
        if TENANT in parent and TENANT not in (span.attributes or {}):
            span.set_attribute(TENANT, parent[TENANT])


def make_tracer(provider: TracerProvider) -> trace.Tracer:
    """The tracer that headrace's own code uses."""
    return provider.get_tracer("headrace", VERSION, schema_url=SCHEMA_URL)
