"""A request's compact record as OTLP spans: the root, and one per step. Content is on the root alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from headrace_gateway.calls import CHAT, COMPLETION, EMBEDDING, RERANK, RESPONSE
from headrace_gateway.context import Hop, RequestContext
from headrace_gateway.observing import content
from headrace_gateway.observing.content import found
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.tracing import VERSION

_OPERATIONS = {
    CHAT: genai.OPERATION_CHAT,
    COMPLETION: genai.OPERATION_TEXT_COMPLETION,
    RESPONSE: genai.OPERATION_CHAT,
    EMBEDDING: genai.OPERATION_EMBEDDINGS,
    RERANK: genai.OPERATION_RERANK,
}


@dataclass(frozen=True, slots=True)
class Record:
    """A request that has ended. `error` is a code of the error table."""

    ctx: RequestContext
    status: int
    ended_ns: int
    error: str


def resource_spans(records: list[Record]) -> ResourceSpans:
    """The spans of several requests."""
    resource = Resource(
        attributes=_attributes({"service.name": "gateway", "service.namespace": "headrace", "service.version": VERSION})
    )
    scope = ScopeSpans(scope=InstrumentationScope(name="headrace", version=VERSION), schema_url=genai.SCHEMA_URL)
    for record in records:
        scope.spans.append(_root(record))
        scope.spans.extend(_step(record, hop) for hop in record.ctx.hops)
    return ResourceSpans(resource=resource, scope_spans=[scope], schema_url=genai.SCHEMA_URL)


def _root(record: Record) -> Span:
    ctx = record.ctx
    attributes: dict[str, Any] = {
        genai.TENANT: ctx.identity.tenant,
        genai.REQUEST_ID: ctx.request_id,
        genai.CONFIG_HASH: ctx.table.hash,
        "headrace.key_id": ctx.identity.key_id,
        "headrace.transport": ctx.arrival.transport,
    }
    if ctx.arrival.transport == "http":
        method, _, route = ctx.arrival.route.partition(" ")
        attributes |= {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": record.status,
        }
    name = ctx.arrival.route
    if ctx.plan is not None:
        operation = _OPERATIONS[ctx.operation]
        name = f"{operation} {ctx.plan.name}"
        attributes |= {
            genai.OPERATION_NAME: operation,
            genai.PROVIDER_NAME: "headrace",
            genai.REQUEST_MODEL: ctx.plan.name,
            genai.RESPONSE_ID: ctx.request_id,
            genai.ARM: ctx.outcome.arm,
        }
        if ctx.outcome.deployment:
            attributes |= {genai.DEPLOYMENT: ctx.outcome.deployment, genai.RESPONSE_MODEL: ctx.outcome.deployment}
        if ctx.first_token_us:
            attributes[genai.RESPONSE_TIME_TO_FIRST_CHUNK] = ctx.first_token_us / 1e6
    if ctx.plan is not None and ctx.plan.cache is not None:
        attributes[genai.CACHE] = ctx.outcome.cache
    if ctx.outcome.guardrails:
        attributes[genai.FINDINGS] = found(ctx.outcome.guardrails)
    if ctx.epochs:
        attributes[genai.COLLECTIONS] = sorted(ctx.epochs)
    if ctx.content is not None:
        attributes |= content.attributes(ctx.content)
    if ctx.rollout_id:
        attributes["headrace.rollout_id"] = ctx.rollout_id
    attributes |= ctx.attributes
    return _span(
        ctx, ctx.span_id, ctx.parent_span_id, name, Span.SPAN_KIND_SERVER, ctx.started_ns, record.ended_ns,
        attributes, record.error,
    )  # fmt: skip


def _step(record: Record, hop: Hop) -> Span:
    ctx = record.ctx
    attributes = {genai.REQUEST_ID: ctx.request_id, genai.TENANT: ctx.identity.tenant, **hop.attributes}
    kind = Span.SPAN_KIND_INTERNAL
    if genai.BILLED in hop.attributes:
        kind = Span.SPAN_KIND_CLIENT
        attributes[genai.OPERATION_NAME] = _OPERATIONS[ctx.operation]
        attributes[genai.REQUEST_MODEL] = hop.attributes[genai.DEPLOYMENT]
    # A step that was never closed was cut off with its request.
    return _span(
        ctx, hop.span_id, ctx.span_id, hop.name, kind, hop.started_ns, hop.ended_ns or record.ended_ns,
        attributes, hop.error or ("" if hop.ended_ns else record.error),
    )  # fmt: skip


def _span(
    ctx: RequestContext,
    span_id: str,
    parent_id: str,
    name: str,
    kind: Span.SpanKind.ValueType,
    started_ns: int,
    ended_ns: int,
    attributes: Mapping[str, Any],
    error: str,
) -> Span:
    span = Span(
        trace_id=bytes.fromhex(ctx.trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent_id),
        name=name,
        kind=kind,
        start_time_unix_nano=started_ns,
        end_time_unix_nano=ended_ns,
        attributes=_attributes(attributes),
        flags=1,
    )
    if error:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = error
        span.attributes.append(KeyValue(key=genai.ERROR_TYPE, value=AnyValue(string_value=error)))
    return span


def _attributes(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    made = AnyValue()
    made.array_value.values.extend(_value(item) for item in value)
    return made
