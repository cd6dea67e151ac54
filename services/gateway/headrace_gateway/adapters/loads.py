"""Asks inference how busy its deployments are, for as long as somebody chooses by that."""

from __future__ import annotations

import asyncio
import logging

from headrace_gateway.routing.load import LoadBook
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.inference.v1 import service_pb2_grpc
from headrace_protos.inference.v1.messages_pb2 import GetLoadRequest

_log = logging.getLogger(__name__)
_EVERY_S, _TIMEOUT_S, _PATIENCE_S = 1.0, 2.0, 10.0


class LoadPoll:
    """Asks once a second. Without answers the book's reports grow old, and estimates go by what was seen here.

    Args:
        peer: the connection to inference.
        book: takes the answers.
    """

    def __init__(self, peer: Peer, book: LoadBook) -> None:
        self._peer, self._book = peer, book
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ask no longer."""
        await end(self._task)

    async def once(self) -> None:
        """Ask once, where the answer is wanted."""
        if not self._book.wanted:
            return
        sent = Outbound(Identity("gateway")).within(_TIMEOUT_S)
        try:
            answer = await self._peer.unary(self._stub.GetLoad, GetLoadRequest(), sent)
        except HeadraceError as error:
            if not self._failing:
                _log.warning("inference does not tell its load, routing goes by what is seen here: %s", error.message)
            self._failing = True
            return
        self._failing = False
        self._book.take(answer.loads)

    async def _run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(_PATIENCE_S if self._failing else _EVERY_S)
