"""A request's compact record as OTLP spans: the root, and one per step. Content is on the root alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from headrace_gateway.calls import CHAT, COMPLETION, EMBEDDING, RERANK, RESPONSE
from headrace_gateway.context import Hop, RequestContext
from headrace_gateway.observing import content
from headrace_gateway.observing.content import found
from headrace_gateway.running import Running
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.tracing import VERSION

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

_log = logging.getLogger(__name__)
_HERE = Running()
_OPERATIONS = {
    CHAT: genai.OPERATION_CHAT,
    COMPLETION: genai.OPERATION_TEXT_COMPLETION,
    RESPONSE: genai.OPERATION_CHAT,
    EMBEDDING: genai.OPERATION_EMBEDDINGS,
    RERANK: genai.OPERATION_RERANK,
}


def _operation(ctx: RequestContext) -> str:
    """What a model is asked to do; that of a search, or of a memory, writes text."""
    return _OPERATIONS.get(ctx.operation, genai.OPERATION_CHAT)


@dataclass(frozen=True, slots=True)
class Record:
    """A request that has ended. `error` is a code of the error table."""

    ctx: RequestContext
    status: int
    ended_ns: int
    error: str


def resource_spans(
    records: list[Record], running: Running = _HERE, left_out: Callable[[], None] = lambda: None
) -> ResourceSpans:
    """The spans of several requests. One of which none can be made is logged and left out; `left_out` hears of it."""
    made = ResourceSpans(schema_url=genai.SCHEMA_URL)
    named = {"service.name": "gateway", "service.namespace": "headrace", "service.version": VERSION}
    _put(made.resource.attributes, named)
    scope = made.scope_spans.add(schema_url=genai.SCHEMA_URL)
    scope.scope.name, scope.scope.version = "headrace", VERSION
    for record in records:
        before = len(scope.spans)
        try:
            _root(scope.spans.add(), record, running)
            for hop in record.ctx.hops:
                _step(scope.spans.add(), record, hop)
        except Exception:  # a defect of ours: the other requests of the batch are told all the same
            del scope.spans[before:]
            _log.exception("the spans of a request could not be made", extra={"request_id": record.ctx.request_id})
            left_out()
    return made


def _root(span: Span, record: Record, running: Running) -> None:
    ctx = record.ctx
    attributes: dict[str, Any] = {
        genai.TENANT: ctx.identity.tenant,
        genai.REQUEST_ID: ctx.request_id,
        genai.CONFIG_HASH: ctx.table.hash,
        "headrace.key_id": ctx.identity.key_id,
        "headrace.transport": ctx.arrival.transport,
        genai.TRACK: running.track,
        genai.RELEASE: running.release,
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
        operation = _operation(ctx)
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
    if ctx.outcome.grounding:
        attributes[genai.GROUNDEDNESS] = ctx.outcome.grounding.score
    if ctx.content is not None:
        attributes |= content.attributes(ctx.content)
    if ctx.rollout_id:
        attributes["headrace.rollout_id"] = ctx.rollout_id
    if ctx.canary is not None:
        attributes["headrace.canary.rollout_id"] = ctx.canary.rollout_id
        attributes["headrace.canary.arm"] = ctx.canary.arm
    attributes |= ctx.attributes
    _fill(
        span, ctx, ctx.span_id, ctx.parent_span_id, name, Span.SPAN_KIND_SERVER, ctx.started_ns, record.ended_ns,
        attributes, record.error,
    )  # fmt: skip


def _step(span: Span, record: Record, hop: Hop) -> None:
    ctx = record.ctx
    attributes = {genai.REQUEST_ID: ctx.request_id, genai.TENANT: ctx.identity.tenant, **hop.attributes}
    kind = Span.SPAN_KIND_INTERNAL
    if genai.BILLED in hop.attributes:
        kind = Span.SPAN_KIND_CLIENT
        attributes[genai.OPERATION_NAME] = _operation(ctx)
        attributes[genai.REQUEST_MODEL] = hop.attributes[genai.DEPLOYMENT]
    # A step that was never closed was cut off with its request.
    _fill(
        span, ctx, hop.span_id, ctx.span_id, hop.name, kind, hop.started_ns, hop.ended_ns or record.ended_ns,
        attributes, hop.error or ("" if hop.ended_ns else record.error),
    )  # fmt: skip


def _fill(
    span: Span,
    ctx: RequestContext,
    span_id: str,
    parent_id: str,
    name: str,
    kind: Span.SpanKind.ValueType,
    started_ns: int,
    ended_ns: int,
    attributes: Mapping[str, Any],
    error: str,
) -> None:
    span.trace_id = bytes.fromhex(ctx.trace_id)
    span.span_id = bytes.fromhex(span_id)
    span.parent_span_id = bytes.fromhex(parent_id)
    span.name, span.kind, span.flags = name, kind, 1
    span.start_time_unix_nano, span.end_time_unix_nano = started_ns, ended_ns
    _put(span.attributes, attributes)
    if error:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = error
        _put(span.attributes, {genai.ERROR_TYPE: error})


def _put(into: RepeatedCompositeFieldContainer[KeyValue], attributes: Mapping[str, Any]) -> None:
    """Add attributes in place: a message that is made by itself and then copied in costs four times as much."""
    add = into.add
    for key, value in attributes.items():
        made = add()
        made.key = key
        _set(made.value, value)


def _set(made: AnyValue, value: Any) -> None:
    if isinstance(value, str):
        made.string_value = value
    elif isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int):
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    else:
        made.array_value.SetInParent()
        for item in value:
            _set(made.array_value.values.add(), item)
