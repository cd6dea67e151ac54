"""What the gateway tells of a request that has ended, on its way to whoever makes spans of it.

One record a request, in msgpack, fields by their place. A reader passes over fields that it does not know and fills in
those that it misses, so a field is only ever added, at the end of its struct and with a default. What an older reader
would get wrong is another `VERSION`, which that reader refuses.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

VERSION = 1


class Unusable(ValueError):
    """Bytes that are no record that this process can read; the message says why."""


class Hop(Struct, array_like=True, gc=False):
    """One step of a request. Times are nanoseconds since 1970; one that was cut off has no end."""

    name: str
    span_id: str
    started_ns: int
    ended_ns: int = 0
    attributes: dict[str, Any] = {}
    error: str = ""


class Said(Struct, array_like=True, gc=False):
    """What a request said and was answered, as the gateway held it.

    `messages` are `common.v1.Message`, `sampling` is `common.v1.Sampling`, `calls` are pieces of `common.v1.ToolCall`
    and `passages` are `retrieval.v1.Passage`, each serialised. `texts` are the answer's, by choice. From `operation` to
    `cache` it is the request's options. `sent` and `sent_prompt` are what `messages` and `prompt` were before
    guardrails changed them, where content is kept in full and they did; nobody but the vault may get them. `quotes` are
    what the answer's citations quote, by the passage's number from 1.
    """

    messages: list[bytes] = []
    prompt: str = ""
    sampling: bytes = b""
    texts: dict[int, str] = {}
    calls: list[bytes] = []
    passages: list[bytes] = []
    operation: str = ""
    stream: bool = False
    collections: tuple[str, ...] = ()
    guardrails: str = ""
    route: str = ""
    cache: str = ""
    sent: list[bytes] = []
    sent_prompt: str = ""
    quotes: dict[int, list[str]] = {}


class Request(Struct, array_like=True, gc=False):
    """A request that has ended.

    What has no value is empty. `operation` is a name of the GenAI conventions; `model` is empty where the request named
    none. `error` is a code of the error table, `status` an HTTP status. `cache` is empty where the model has none, and
    `findings` are as spans tell them. `attributes` are the root's own, `first_token_us` counts from `started_ns`.
    """

    request_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    started_ns: int
    ended_ns: int
    tenant: str
    version: int = VERSION
    status: int = 0
    error: str = ""
    key_id: str = ""
    config_hash: str = ""
    transport: str = ""
    route: str = ""
    track: str = ""
    release: str = ""
    operation: str = ""
    model: str = ""
    deployment: str = ""
    arm: str = ""
    first_token_us: int = 0
    cache: str = ""
    findings: list[str] = []
    collections: list[str] = []
    groundedness: float | None = None
    rollout_id: str = ""
    canary_rollout_id: str = ""
    canary_arm: str = ""
    attributes: dict[str, Any] = {}
    hops: list[Hop] = []
    said: Said | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Request)


def packed(request: Request) -> bytes:
    """A record as bytes. Raises TypeError, ValueError or OverflowError: it holds a value that no record can."""
    return _encoder.encode(request)


def unpacked(raw: bytes) -> Request:
    """The record that bytes are. Raises Unusable."""
    try:
        request = _decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unusable(f"this is no record of a request: {error}") from error
    if request.version > VERSION:
        raise Unusable(f"its version is {request.version}, and {VERSION} is the newest that is known here")
    return request
