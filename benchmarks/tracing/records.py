"""Records of requests to send, as the gateway does: the requests of `made`, and many messages of one."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

from benchmarks.tracing.made import (
    FIRST_NS,
    SPANS_OF_TRACE,
    TENANT,
    TRACES,
    places,
    request_of,
    steps_of,
    text,
)
from headrace_kit.telemetry.requests import Hop, Request, Said, packed
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.retrieval.v1.messages_pb2 import Passage
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest

_MS = 10**6


class Records:
    """Many messages of one, as `made.Exports`; each has `TRACES` records of which `SPANS_OF_TRACE` spans are made.

    Args:
        start_ns: when the earliest request begins.
        over_ns: how long it takes until the last of `messages` begins.
        messages: how many there will be.
        seed: of ids and texts.
    """

    def __init__(self, start_ns: int, over_ns: int, messages: int, seed: int = 0) -> None:
        self._random = random.Random(seed)
        requests = [_request(self._random, number) for number in range(TRACES)]
        self._raw = bytearray(TakeRecordsRequest(records=map(packed, requests)).SerializeToString())
        self.size_bytes = len(self._raw)
        self._long, self._short, moments = [], [], set()
        for request in requests:
            self._long += [places(self._raw, one.encode()) for one in (request.trace_id, request.request_id)]
            self._short += [
                places(self._raw, one.encode()) for one in (request.span_id, *(hop.span_id for hop in request.hops))
            ]
            moments |= {request.started_ns, request.ended_ns}
            moments |= {moment for hop in request.hops for moment in (hop.started_ns, hop.ended_ns)}
        self._times = [(place, one) for one in moments for place in places(self._raw, struct.pack(">Q", one))]
        self._start_ns, self._step_ns, self._left = start_ns, over_ns // max(1, messages), messages

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._left):
            shift = self._start_ns - FIRST_NS + number * self._step_ns
            for found, size in ((self._long, 16), (self._short, 8)):
                for of in found:
                    one = self._random.randbytes(size).hex().encode()
                    for place in of:
                        self._raw[place : place + 2 * size] = one
            for place, moment in self._times:
                struct.pack_into(">Q", self._raw, place, shift + moment)
            yield bytes(self._raw)


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
