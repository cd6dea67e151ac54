"""The rollout service's stream of grants."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from headrace_gateway.arms.leases import Leases
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.rollout.v1 import messages_pb2, service_pb2_grpc

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
_FIRST_GRANT_S = 15.0


class GrantWatch:
    """Keeps `Leases` up to date for as long as rollout answers; afterwards they lapse by themselves.

    Args:
        peer: the connection.
        leases: what is kept.
        watcher: name of this replica, for rollout's log.
    """

    def __init__(self, peer: Peer, leases: Leases, watcher: str) -> None:
        self._peer, self._leases, self._watcher = peer, leases, watcher
        self._stub = peer.stub(service_pb2_grpc.RolloutServiceStub)
        self._silence_s = _FIRST_GRANT_S
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Watch no longer."""
        await end(self._task)

    async def _run(self) -> None:
        away = False
        request = messages_pb2.WatchRequest(watcher=self._watcher)
        while True:
            try:
                watched = self._peer.stream(self._stub.Watch, request, Outbound(Identity("gateway")))
                async with aclosing(watched) as grants:
                    while True:
                        # A stream that stays silent beyond its own lease is dead, whatever the connection says.
                        async with asyncio.timeout(self._silence_s):
                            grant = await anext(grants)
                        self._leases.take(grant)
                        self._silence_s = max(1.0, grant.lease_ms / 1000)
                        away = False
            except StopAsyncIteration:
                pass
            except (HeadraceError, TimeoutError) as error:
                if not away:
                    _log.warning("rollout is away, weights hold until their lease lapses: %s", type(error).__name__)
                away = True
            await asyncio.sleep(_RETRY_S)
