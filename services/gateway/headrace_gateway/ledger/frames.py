"""Events on disk: length, checksum, bytes; and what may be read back after a crash tore the end off.

And on their way: many of them packed into one `RequestEvents`, without being taken apart first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.message import DecodeError

from headrace_protos.common.v1.event_pb2 import RequestEvent, RequestEvents

_HEAD = struct.Struct("<II")
_MOST_BYTES = 1 << 20


def frame(payload: bytes) -> bytes:
    """`payload` with its length and CRC-32 before it."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def frames(data: bytes) -> Iterator[bytes]:
    """Whole payloads in order, up to the first that is cut off or damaged."""
    at = 0
    while at + _HEAD.size <= len(data):
        size, checksum = _HEAD.unpack_from(data, at)
        start, end = at + _HEAD.size, at + _HEAD.size + size
        if size > _MOST_BYTES or end > len(data):
            return
        payload = data[start:end]
        if zlib.crc32(payload) != checksum:
            return
        yield payload
        at = end


def parse(payload: bytes) -> RequestEvent | None:
    """The event in a payload; None where it is none."""
    try:
        event: RequestEvent = RequestEvent.FromString(payload)
    except DecodeError:
        return None
    return event


def pack(events: Iterable[bytes]) -> bytes:
    """Encoded events as one encoded `RequestEvents`: each is a field with its length before it."""
    return b"".join([_EVENTS + _varint(len(event)) + event for event in events])


def unpack(payload: bytes) -> Sequence[RequestEvent]:
    """The events of a packet; none where it is none."""
    try:
        packet: RequestEvents = RequestEvents.FromString(payload)
    except DecodeError:
        return ()
    return packet.events


_EVENTS = bytes([RequestEvents.EVENTS_FIELD_NUMBER << 3 | 2])


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)
