"""What of a span nobody filters by, as few bytes as cheaply as possible.

JSON under zlib with a dictionary of the names that spans repeat: of a usual span about a quarter is left, and the
database parses nothing.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from headrace_tracing.domain.content import Content, packed, unpacked
from headrace_tracing.domain.spans import Span, SpanEvent

# Never change a dictionary: what was written with it is read with it. A new one gets the next number.
_DICTIONARIES: dict[int, bytes] = {
    1: (
        b'"http.request.method":"POST","http.route":"/v1/chat/completions","http.response.status_code":200,'
        b'"headrace.transport":"http","rpc.system":"grpc","rpc.service":"headrace.","rpc.method":"'
        b'"error.type":"exception.message":"exception.stacktrace":"exception.type":"network.peer.address":"127.0.0.1'
        b'"gen_ai.conversation.id":"gen_ai.response.id":"gen_ai.request.temperature":"gen_ai.request.max_tokens":'
        b'"gen_ai.request.seed":"gen_ai.request.stream":true,"gen_ai.response.finish_reasons":["stop"],'
        b'"headrace.route.chosen_by":"headrace.attempt.reason":"fallback","headrace.cascade.verdict":"accepted",'
        b'"headrace.cascade.signal":"mean_logprob","headrace.cascade.moment":"after","headrace.cascade.confidence":-0.'
        b'"headrace.collection.names":["headrace.guard.found":["input:pii.email:mask:1"],"headrace.cache":"miss",'
        b'"headrace.user":"headrace.arm":"baseline","headrace.rollout_id":"headrace.key_id":"'
        b'"headrace.stage":0,"headrace.attempt":0,"gen_ai.response.time_to_first_chunk":0.'
        b'"gen_ai.usage.cache_read.input_tokens":"headrace.config_hash":"headrace.deployment":"'
        b'"gen_ai.provider.name":"headrace","gen_ai.request.model":"gen_ai.response.model":"gen_ai.operation.name":'
        b'"chat","headrace.tenant":"headrace.request_id":"gen_ai.usage.input_tokens":"gen_ai.usage.output_tokens":'
        b'"headrace.cost_nano_usd":"headrace.billed":true},[],[],""]'
    )
}
_NEWEST = 1
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(
    tuple[dict[str, Any], list[tuple[str, int, dict[str, Any]]], list[tuple[str, str]], str]
)


def span_body(span: Span) -> bytes:
    """Attributes, events, links and message of a span."""
    raw = _encode(
        (
            span.attributes,
            [(event.name, event.time_ns, event.attributes) for event in span.events],
            span.links,
            span.status_message,
        )
    )
    packer = zlib.compressobj(level=3, wbits=-15, memLevel=8, zdict=_DICTIONARIES[_NEWEST])
    return bytes((_NEWEST,)) + packer.compress(raw) + packer.flush()


def of_body(body: bytes) -> tuple[dict[str, Any], tuple[SpanEvent, ...], tuple[tuple[str, str], ...], str]:
    """What `span_body` wrote."""
    raw = body[1:]
    if body[0]:  # 0 is plain JSON
        raw = zlib.decompressobj(wbits=-15, zdict=_DICTIONARIES[body[0]]).decompress(raw)
    attributes, events, links, message = _decoder.decode(raw)
    return attributes, tuple(SpanEvent(*event) for event in events), tuple(links), message


def content_body(content: Content) -> bytes:
    """A content."""
    return zlib.compress(packed(content), 1)


def of_content(body: bytes) -> Content:
    """What `content_body` wrote."""
    return unpacked(zlib.decompress(body))
