"""Receivers of the config: OTLP over HTTP, as protobuf and packed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from headrace_kit.config.traces import Forward
from headrace_kit.webhooks import Refused, post
from headrace_tracing.domain.forwarding import Receiver, Unwanted
from headrace_tracing.domain.spans import Span
from headrace_tracing.otlp_api.encode import encode
from headrace_tracing.otlp_api.intake import PROTOBUF

_SETTING = "services.tracing.forward"


def receivers(wanted: Sequence[Forward], secret: Callable[[str], str]) -> list[Receiver]:
    """The receivers. `secret` gives a secret's value by name, when it is used.

    Raises:
        NotReady: the secret with an address is missing.
    """
    return [_receiver(one, secret) for one in wanted]


def _receiver(wanted: Forward, secret: Callable[[str], str]) -> Receiver:
    url = wanted.url if isinstance(wanted.url, str) else secret(wanted.url.secret).strip()

    def deliver(spans: Sequence[Span]) -> None:
        headers = {
            name: value if isinstance(value, str) else secret(value.secret).strip()
            for name, value in wanted.headers.items()
        }
        headers |= {"content-type": PROTOBUF, "content-encoding": "gzip"}
        body = gzip.compress(encode(spans).SerializeToString(), 1)
        try:
            # Whoever writes the config may name an address inside: that is where collectors are.
            post(url, body, headers, True, _SETTING)
        except Refused as error:
            raise Unwanted(str(error)) from error

    async def send(spans: Sequence[Span]) -> None:
        await asyncio.to_thread(deliver, spans)

    return Receiver(urlsplit(url).hostname or "receiver", frozenset(wanted.tenants), send)
