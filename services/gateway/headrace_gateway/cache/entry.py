"""An answer as it is kept: what the caller got, after all checks, and what it took to make it."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from headrace_gateway.outcome import Citation, Grounding, GuardFinding
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


class Entry(Struct, frozen=True, array_like=True):
    """One answer. Chunks are serialized, in the order in which they were sent, so that a stream replays as one.

    `cost_nano_usd` is what making it cost, rejected stages included. `epochs` are those of the collections that it was
    grounded in, as they were before anything was searched.
    """

    chunks: list[bytes]
    usage: bytes
    deployment: str
    cost_nano_usd: int
    epochs: dict[str, int]
    question: str
    citations: list[Citation]
    findings: list[GuardFinding]
    grounding: Grounding | None = None

    def replay(self) -> list[GenerateChunk]:
        """The chunks."""
        return [GenerateChunk.FromString(chunk) for chunk in self.chunks]

    def tokens(self) -> Usage:
        """The usage of the attempt that made it."""
        made: Usage = Usage.FromString(self.usage)
        return made


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The bytes of an entry."""
    return _encoder.encode(entry)


def decode(raw: bytes) -> Entry | None:
    """The entry in bytes; None where they hold none that this gateway can read."""
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
