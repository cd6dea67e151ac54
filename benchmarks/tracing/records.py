"""Records of requests to send, as the gateway does: the requests of `made`, and many messages of one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from benchmarks.tracing.made import SPANS_OF_TRACE, TENANT, TRACES, request_of, steps_of, text
from benchmarks.tracing.many import FIRST_NS, Many, digits
from headrace_kit.telemetry.requests import Hop, Request, Said, packed
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.retrieval.v1.messages_pb2 import Passage
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest

_MS = 10**6


def records(start_ns: int, over_ns: int, number: int, seed: int = 0) -> Iterator[bytes]:
    """Messages of `TRACES` records, of each of which `SPANS_OF_TRACE` spans are made; as `made.exports`."""
    chance = random.Random(seed)
    requests = [_request(chance, at) for at in range(TRACES)]
    times = [moment for request in requests for moment in (request.started_ns, request.ended_ns)]
    times += [moment for request in requests for hop in request.hops for moment in (hop.started_ns, hop.ended_ns)]
    raw = TakeRecordsRequest(records=map(packed, requests)).SerializeToString()
    many = Many(raw, times, ">Q", chance)
    for request in requests:
        for one in (request.trace_id, request.request_id):
            many.renew(one.encode(), 16, digits)
        for one in (request.span_id, *(hop.span_id for hop in request.hops)):
            many.renew(one.encode(), 8, digits)
    return many.messages(start_ns, over_ns, number)


def _request(chance: random.Random, number: int) -> Request:
    """The request of `made`, told as a record."""
    asked: dict[str, Any] = request_of(chance, number)
    at = FIRST_NS + number * 40 * _MS + chance.randrange(_MS)
    hops = []
    for step, (name, attributes) in enumerate(steps_of(chance), 1):
        hops.append(Hop(name, chance.randbytes(8).hex(), at + step * _MS, at + step * _MS + 1013 * step, attributes))
    assert len(hops) == SPANS_OF_TRACE - 1
    return Request(
        request_id=chance.randbytes(16).hex(),
        trace_id=chance.randbytes(16).hex(),
        span_id=chance.randbytes(8).hex(),
        parent_span_id="",
        started_ns=at,
        ended_ns=at + 9 * _MS,
        tenant=TENANT,
        status=502 if asked["failed"] else 200,
        error="upstream_failed" if asked["failed"] else "",
        key_id="key-7",
        config_hash="3c9f0d7a51e2",
        transport="http",
        route="POST /v1/chat/completions",
        operation="chat",
        model=asked["model"],
        deployment="large",
        arm=asked["arm"],
        first_token_us=50_000 + chance.randrange(250_000),
        cache="miss",
        collections=["handbook"],
        attributes=asked["attributes"],
        hops=hops,
        said=_said(chance),
    )


def _said(chance: random.Random) -> Said:
    passages = [
        Passage(
            collection="handbook", document_id=f"doc-{chance.randrange(9999)}", chunk_id=f"c-{chance.randrange(9999)}",
            text=text(chance, 60), score=chance.random(),
        )
        for _ in range(3)
    ]  # fmt: skip
    return Said(
        messages=[Message(role="user", parts=[ContentPart(text=text(chance, 40))]).SerializeToString()],
        sampling=Sampling(temperature=0.2, max_tokens=256).SerializeToString(),
        texts={0: text(chance, 120)},
        passages=[passage.SerializeToString() for passage in passages],
        operation="chat",
        stream=True,
        collections=("handbook",),
    )
