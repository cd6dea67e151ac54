"""Exports to send: requests as headrace's gateway tells of them, and cheap ways to make many of one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from benchmarks.tracing.many import FIRST_NS, Many, digits
from headrace_kit.telemetry import genai

TRACES = 64
"""Requests of one export; with `SPANS_OF_TRACE` it is as large as an SDK's largest by default, 512 spans."""

SPANS_OF_TRACE = 8
SPANS = TRACES * SPANS_OF_TRACE
MODELS = ("assistant", "coder", "summary", "search")
TENANT = "bench"
DAY_NS = 86_400 * 10**9
_TEXT = (
    "the a of to in and that for with as on by from this which one when where how is was be has can may will not "
    "more model answer question document page passage policy order invoice holiday manager team report machine "
    "pump valve energy water price market customer contract delivery station measure value table figure section "
    "chapter rule law write read send keep find show open close start stop change check store move turn call ask "
    "give take make use"
)
_WORDS = _TEXT.split()
_MS = 10**6


def exports(start_ns: int, over_ns: int, number: int, seed: int = 0) -> Iterator[bytes]:
    """Exports, each of `SPANS` spans; see `Many.messages`. `seed` is that of ids and texts."""
    chance = random.Random(seed)
    request = _export(chance)
    spans = request.resource_spans[0].scope_spans[0].spans
    times = [moment for span in spans for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
    many = Many(request.SerializeToString(), times, "<Q", chance)
    for span in spans:
        many.renew(span.span_id, 8)
    for root in spans[::SPANS_OF_TRACE]:
        said = {pair.key: pair.value.string_value.encode() for pair in root.attributes}
        many.renew(root.trace_id, 16)
        many.renew(said[genai.REQUEST_ID], 16, digits)
        many.renew(said[genai.CONVERSATION_ID], 16, lambda made: b"talk-" + digits(made)[:11])
    return many.messages(start_ns, over_ns, number)


def request_of(chance: random.Random, number: int) -> dict[str, Any]:
    """What differs between requests: model, arm, conversation, user, and whether it failed."""
    return {
        "model": MODELS[number % len(MODELS)],
        "arm": "candidate" if number % 10 == 0 else "baseline",
        "failed": number % 50 == 49,
        "attributes": {
            genai.CONVERSATION_ID: f"talk-{chance.getrandbits(44):011x}",
            genai.USER: f"user-{chance.randrange(5000)}",
        },
    }


def steps_of(chance: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """The steps of a request that was guarded, given three passages, and answered by the second stage of a cascade."""
    attempt = {
        genai.BILLED: True,
        genai.OPERATION_NAME: genai.OPERATION_CHAT,
        genai.USAGE_INPUT_TOKENS: chance.randrange(200, 900),
        genai.USAGE_OUTPUT_TOKENS: chance.randrange(20, 200),
        genai.COST_NANO_USD: chance.randrange(1000, 90_000),
        genai.RESPONSE_FINISH_REASONS: ["stop"],
    }
    return [
        ("guard input", {"headrace.policy": "standard", "headrace.checks": 4}),
        ("retrieve", {genai.COLLECTIONS: ["handbook"], "headrace.passages": 3}),
        ("guard retrieved", {"headrace.policy": "standard", "headrace.checks": 2}),
        (
            "attempt small",
            {**attempt, genai.REQUEST_MODEL: "small", genai.DEPLOYMENT: "small", genai.STAGE: 0, genai.ATTEMPT: 0,
             genai.VERDICT: "rejected", genai.SIGNAL: "mean_logprob", genai.CONFIDENCE: -chance.random()},
        ),
        (
            "attempt large",
            {**attempt, genai.REQUEST_MODEL: "large", genai.DEPLOYMENT: "large", genai.STAGE: 1, genai.ATTEMPT: 0,
             genai.VERDICT: "accepted", genai.CHOSEN_BY: "cascade"},
        ),
        ("guard output", {"headrace.policy": "standard", "headrace.checks": 4}),
        ("settle", {"headrace.ledger": "closed"}),
    ]  # fmt: skip


def text(chance: random.Random, words: int) -> str:
    """A sentence."""
    return " ".join(chance.choices(_WORDS, k=words)).capitalize() + "."


def _export(chance: random.Random) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(_pairs({"service.name": "gateway", "service.namespace": "headrace"}))
    scope = of_resource.scope_spans.add()
    for number in range(TRACES):
        scope.spans.extend(_trace(chance, number))
    return request


def _trace(chance: random.Random, number: int) -> list[Span]:
    """A request that was guarded, given three passages, and answered by the second stage of a cascade."""
    trace_id, ids = chance.randbytes(16), [chance.randbytes(8) for _ in range(SPANS_OF_TRACE)]
    asked, request_id = request_of(chance, number), f"{chance.getrandbits(128):032x}"
    model, failed = asked["model"], asked["failed"]
    # No two moments of an export are the same number, and none is a number that something else of it could be.
    moments = itertools.count(FIRST_NS + number * 40 * _MS + chance.randrange(_MS), _MS + 1013)
    root: dict[str, Any] = {
        genai.TENANT: TENANT,
        genai.REQUEST_ID: request_id,
        genai.CONFIG_HASH: "3c9f0d7a51e2",
        genai.KEY_ID: "key-7",
        "headrace.transport": "http",
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 502 if failed else 200,
        genai.OPERATION_NAME: genai.OPERATION_CHAT,
        genai.PROVIDER_NAME: "headrace",
        genai.REQUEST_MODEL: model,
        genai.RESPONSE_ID: request_id,
        genai.ARM: asked["arm"],
        genai.DEPLOYMENT: "large",
        genai.RESPONSE_MODEL: "large",
        genai.RESPONSE_TIME_TO_FIRST_CHUNK: 0.05 + chance.random() / 4,
        genai.CACHE: "miss",
        genai.COLLECTIONS: ["handbook"],
        **asked["attributes"],
        genai.INPUT_MESSAGES: _messages("user", text(chance, 40)),
        genai.OUTPUT_MESSAGES: _messages("assistant", text(chance, 120)),
        genai.PASSAGES: _passages(chance),
        genai.OPTIONS: '{"temperature":0.2,"max_tokens":256,"stream":true}',
    }
    spans = [_span(trace_id, ids[0], b"", f"chat {model}", next(moments), next(moments), root, failed)]
    for span_id, (name, attributes) in zip(ids[1:], steps_of(chance), strict=True):
        given = {genai.REQUEST_ID: request_id, genai.TENANT: TENANT, **attributes}
        spans.append(_span(trace_id, span_id, ids[0], name, next(moments), next(moments), given, False))
    spans[0].end_time_unix_nano = next(moments)
    return spans


def _span(
    trace_id: bytes, span_id: bytes, parent: bytes, name: str, start: int, end: int, given: dict[str, Any], failed: bool
) -> Span:
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=Span.SPAN_KIND_INTERNAL if parent else Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=_pairs(given),
    )
    if failed:
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "upstream_failed"
        span.attributes.extend(_pairs({genai.ERROR_TYPE: "upstream_failed"}))
    return span


def _messages(role: str, text: str) -> str:
    return f'[{{"role":"{role}","parts":[{{"type":"text","content":"{text}"}}]}}]'


def _passages(chance: random.Random) -> str:
    one = '{{"number":{0},"collection":"handbook","document_id":"doc-{1}","chunk_id":"c-{1}","text":"{2}","score":{3}}}'
    return (
        f"[{','.join(one.format(at, chance.randrange(9999), text(chance, 60), chance.random()) for at in (1, 2, 3))}]"
    )


def _pairs(given: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in given.items()]


def _value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            made = AnyValue()
            made.array_value.values.extend(map(_value, value))
            return made
        case _:
            return AnyValue(string_value=value)
