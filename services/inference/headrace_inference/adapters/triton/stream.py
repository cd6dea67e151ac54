"""One request to a streaming model, on a gRPC stream of its own that is never cancelled at gRPC's level.

Triton 2.51 may crash when a gRPC cancel meets the last response of a stream. grpc.aio cancels a call when the task
that reads or writes it is cancelled. So a task of its own reads and writes, nobody cancels it, and a client that leaves
makes it send the model a cancel on the same stream and read on until the model has ended the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import TypeAlias

from grpc import aio
from tritonclient.grpc import service_pb2 as pb

_AHEAD = 32
"""Responses that may wait for a slow reader before gRPC's flow control holds Triton back."""


class NotSent(Exception):
    """The request could not be written: Triton has not seen it."""


Item: TypeAlias = pb.ModelStreamInferResponse | aio.AioRpcError | NotSent | None


class ModelStream:
    """Sends a request and reads its responses; it starts when it is made.

    Args:
        call: a fresh `ModelStreamInfer` call.
        request: what is sent.
        cancel: what is sent when the reader leaves early. None: the call is cancelled at gRPC's level after all, for
            models of others that listen to nothing else.
        patience_s: seconds that the model gets to end an answer nobody wants, before the call is cancelled after all.
    """

    def __init__(
        self,
        call: aio.StreamStreamCall,
        request: pb.ModelInferRequest,
        cancel: pb.ModelInferRequest | None,
        patience_s: float,
    ) -> None:
        self._call = call
        self._request = request
        self._cancel = cancel
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        # A queue and a timeout around each read would cost several times what these two futures and one timer do.
        self._wanted: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._wanted_since = 0.0
        self._patience: asyncio.TimerHandle | None = None
        self._written = asyncio.Event()
        self._answered = False
        self._left = False
        self._reading = asyncio.create_task(self._read())

    async def next(self, silence_s: float | None = None) -> pb.ModelStreamInferResponse | None:
        """The next response, or None when Triton closed the stream.

        Args:
            silence_s: longest wait for it.

        Raises:
            NotSent: the call broke before the request was sent.
            aio.AioRpcError: the call broke.
            TimeoutError: nothing came for `silence_s`.
        """
        while not self._items:
            self._wanted_since = self._loop.time()
            self._wanted = self._loop.create_future()
            if silence_s is not None and self._patience is None:
                self._patience = self._loop.call_later(silence_s, self._lose_patience, silence_s)
            try:
                await self._wanted
            finally:
                self._wanted = None
        item = self._items.popleft()
        _wake(self._room)
        if isinstance(item, Exception):
            raise item
        return item

    def leave(self) -> Coroutine[None, None, None]:
        """Nobody reads any more. The caller runs what is returned as a task: it ends the answer and the stream."""
        self._left = True
        if self._patience is not None:
            self._patience.cancel()
        self._items.clear()
        _wake(self._room)
        return self._end()

    def _lose_patience(self, silence_s: float) -> None:
        now = self._loop.time()
        since = self._wanted_since if self._wanted is not None else now
        if self._wanted is not None and now - since >= silence_s:
            if not self._wanted.done():
                self._wanted.set_exception(TimeoutError())
            since = now
        self._patience = self._loop.call_at(since + silence_s, self._lose_patience, silence_s)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._written.wait()
                if self._cancel is None and not self._answered:
                    return
                if self._cancel is not None and not self._answered and not self._call.done():
                    await self._call.write(self._cancel)
                await asyncio.wait([self._reading])
        except (aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            pass  # it is gone, or stuck
        finally:
            self._call.cancel()  # nothing, where it has ended

    async def _read(self) -> None:
        try:
            await self._send()
            self._written.set()
            while (response := await self._call.read()) is not aio.EOF:
                final = response.infer_response.parameters["triton_final_response"].bool_param
                self._answered = self._answered or final or bool(response.error_message)
                await self._give(response)
                if self._answered:
                    await self._call.done_writing()
            await self._give(None)
        except (aio.AioRpcError, NotSent) as error:
            await self._give(error)
        finally:
            self._written.set()

    async def _send(self) -> None:
        try:
            await self._call.write(self._request)
        except (aio.AioRpcError, asyncio.InvalidStateError) as error:
            # What the connection died of has many codes here (a write that meets a goaway is INTERNAL).
            raise NotSent from error

    async def _give(self, item: Item) -> None:
        while len(self._items) >= _AHEAD and not self._left:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if not self._left:
            self._items.append(item)
            _wake(self._wanted)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
