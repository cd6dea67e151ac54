"""From a span as it was sent to the span that is stored: one set of names, no person's id, nothing secret in clear."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, packed, unpacked
from headrace_tracing.domain.normalise import normalised
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.spans import Span
from headrace_tracing.ports import Vault

Capture = Literal["off", "redacted", "full"]
OFF, REDACTED, FULL = "off", "redacted", "full"


class Preparation:
    """What every span goes through before it is stored or forwarded. Thread-safe.

    Args:
        capture: what is kept of a tenant's content.
    """

    def __init__(self, cleaner: Cleaner, vault: Vault, capture: Callable[[str], str]) -> None:
        self._cleaner = cleaner
        self._vault = vault
        self._capture = capture

    def span(self, sent: Span, *, ours: bool) -> Span:
        """The span as it may be stored. `ours`: one of headrace's own services sent it."""
        span, as_sent = normalised(sent, ours=ours), sent.sent
        if as_sent:
            span = replace(span, sent=())
        who = span.attributes.get(genai.USER)
        if who is not None:
            digest = self._vault.digest(span.tenant, who) if isinstance(who, str) and who else ""
            span = replace(span, attributes={**span.attributes, genai.USER: digest})
        if span.content is None:
            return self._cleaner.span(span)
        capture = self._capture(span.tenant)
        if capture == OFF:
            return self._cleaner.span(replace(span, content=None))
        sealed = b""
        if capture == FULL and self._vault.lasting:
            whole = replace(span.content, input=as_sent) if as_sent else span.content
            sealed = self._vault.seal(zlib.compress(packed(whole), 1), place_of(span.trace_id, span.span_id))
        return self._cleaner.span(replace(span, sealed=sealed))


def place_of(trace_id: str, span_id: str) -> bytes:
    """What a sealed content is bound to, so that it cannot be put under another span."""
    return bytes.fromhex(trace_id + span_id)


def opened(vault: Vault, span: Span) -> Content | None:
    """The content as it was sent; None where it was not kept, or the key is another one."""
    raw = vault.unseal(span.sealed, place_of(span.trace_id, span.span_id)) if span.sealed else None
    return unpacked(zlib.decompress(raw)) if raw is not None else None
