"""An answer while it is made: whoever waits for it reads along, from its beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from msgspec import Struct

from headrace_gateway.admission.limits import shut_down


class Head(Struct, frozen=True, array_like=True):
    """What stands before an answer's pieces. `stream` says that they go out one by one."""

    status: int
    headers: list[tuple[str, str]]
    stream: bool


class Kept(Struct, frozen=True, array_like=True):
    """A whole answer as it is stored."""

    head: Head
    pieces: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class Recording:
    """One answer, written by whoever makes it and read by all who asked for it.

    Attributes:
        fingerprint: of the request that it answers.
        head: known when the answer has begun.
        good: it is one to give again; said by whoever makes it, before its end.
        shared: other replicas know that it is being made; known when the answer has begun.
        replayed: it was not made now: another replica had it.
        audience: whatever a transport shares among the readers.
    """

    def __init__(self, fingerprint: bytes, audience: object = None) -> None:
        self.fingerprint = fingerprint
        self.audience = audience
        self.head: Head | None = None
        self.good = False
        self.shared = False
        self.replayed = False
        self.ended = False
        self.size = 0
        self._pieces: list[bytes] = []
        self._error: BaseException | None = None
        self._readers: list[asyncio.Future[None]] = []

    def begin(self, head: Head) -> None:
        """The answer begins."""
        self.head = head
        self._wake()

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self._pieces.append(piece)
        self.size += len(piece)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; readers see `error` then."""
        self._error, self.ended = error, True
        self._wake()

    def replay(self, kept: Kept) -> None:
        """Take a whole answer from elsewhere."""
        self.replayed = self.good = True
        self._pieces, self.size = kept.pieces, sum(map(len, kept.pieces))
        self.begin(kept.head)

    def encoded(self) -> bytes:
        """The answer as it is stored. Only when it has begun."""
        assert self.head is not None
        return _encode(Kept(self.head, self._pieces))

    async def begun(self) -> Head:
        """Wait for the head. Raises the answer's error where it failed before."""
        while self.head is None:
            if self.ended:
                raise self._error or AssertionError("an answer without a head")
            await self._change()
        return self.head

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """All pieces in order, as they come. Raises the answer's error at its end."""
        at = 0
        while True:
            while at < len(self._pieces):
                yield self._pieces[at]
                at += 1
            if self.ended:
                if self._error is not None:
                    raise self._error
                return
            try:
                await self._change()
            except asyncio.CancelledError as cancelled:
                # Who makes it was cancelled as well, and ends it with an error that the reader should see.
                if shut_down(cancelled) is cancelled:
                    raise

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._readers.append(future)
        await future

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


def decode(raw: bytes) -> Kept | None:
    """The answer in stored bytes; None where they hold none that this gateway can read."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
