"""From the bytes of an export, or of records, to spans in the buffer, the same for every way in."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from headrace_kit.errors import BadInput, TooLarge
from headrace_kit.telemetry import genai
from headrace_tracing.domain.forwarding import Forwarder
from headrace_tracing.domain.ingest import Ingest
from headrace_tracing.domain.prepare import Preparation
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics
from headrace_tracing.otlp_api.decode import Decoded, decode, parse
from headrace_tracing.otlp_api.json_form import parse_json
from headrace_tracing.otlp_api.records import decode_records, parse_records

MAX_EXPORT_BYTES = 16 * 1024 * 1024
"""Largest export, packed or unpacked."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass(frozen=True, slots=True)
class Form:
    """How an export is written. `encoding` is `gzip` or empty."""

    content_type: str = PROTOBUF
    encoding: str = ""


class Intake:
    """Decodes, prepares and hands on exports, off the event loop: a large one takes tenths of a second of CPU."""

    def __init__(
        self, ingest: Ingest, preparation: Preparation, metrics: Metrics, forwarder: Forwarder | None = None
    ) -> None:
        self._ingest = ingest
        self._forwarder = forwarder
        self._preparation = preparation
        self._metrics = metrics
        self._working = asyncio.Semaphore(2)

    async def take(self, raw: bytes, form: Form = Form(), tenant: str = "") -> Decoded:
        """Take an export; returns when its spans are stored, or safe in the buffer.

        Args:
            raw: the message.
            form: how it is written.
            tenant: whose it is, whatever it says of itself: somebody came with this tenant's key. Empty: one of
                headrace's own services or a collector beside them, whose word counts.

        Raises:
            BadInput: no such message, or larger than `MAX_EXPORT_BYTES`.
            NotReady: the buffer is full.
        """
        return await self._kept(lambda: self._exported(raw, form, tenant), len(raw))

    async def take_records(self, raw: bytes) -> Decoded:
        """Take the gateway's records of requests; returns as `take`.

        Args:
            raw: a `TakeRecordsRequest`.

        Raises:
            BadInput: no such message.
            NotReady: the buffer is full.
        """
        return await self._kept(lambda: self._prepared(decode_records(parse_records(raw))), len(raw))

    async def _kept(self, work: Callable[[], tuple[Decoded, list[Span]]], size_bytes: int) -> Decoded:
        async with self._working:
            decoded, clean = await asyncio.to_thread(work)
        self._metrics.spans_received.inc(len(clean) + decoded.rejected.total())
        for reason, count in decoded.rejected.items():
            self._metrics.spans_rejected.labels(reason).inc(count)
        await self._ingest.accept(clean, size_bytes)
        if self._forwarder is not None:
            self._forwarder.offer(clean)
        return decoded

    def _exported(self, raw: bytes, form: Form, tenant: str) -> tuple[Decoded, list[Span]]:
        if form.encoding == "gzip":
            raw = _unpacked(raw)
        elif form.encoding not in ("", "identity"):
            raise BadInput("content-encoding is gzip, or none", param="content-encoding")
        return self._prepared(decode(parse_json(raw) if form.content_type == JSON else parse(raw)), tenant)

    def _prepared(self, decoded: Decoded, tenant: str = "") -> tuple[Decoded, list[Span]]:
        made = []
        for span, ours in zip(decoded.spans, decoded.ours, strict=True):
            if tenant:
                span = replace(span, tenant=tenant, attributes={**span.attributes, genai.TENANT: tenant})
            made.append(self._preparation.span(span, ours=ours and not tenant))
        return decoded, made


def _unpacked(raw: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        out = unpacker.decompress(raw, MAX_EXPORT_BYTES + 1)
    except zlib.error as error:
        raise BadInput("the body is not gzip", code="malformed_otlp", param="content-encoding") from error
    if len(out) > MAX_EXPORT_BYTES:
        raise TooLarge(f"the body has more than {MAX_EXPORT_BYTES} bytes unpacked")
    if not unpacker.eof:
        raise BadInput("the body is cut off", code="malformed_otlp", param="content-encoding")
    return out
