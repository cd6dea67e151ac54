"""Which services have a config snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from headrace_kit.errors import HeadraceError
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.common.v1 import node_pb2, node_pb2_grpc

_TIMEOUT_S = 2.0
_PATIENCE_S = 10.0
_SELF = Outbound(Identity("gateway"))


class Nodes:
    """Asks the services that a request may meet.

    Inference must have a snapshot before it is served. Of the others, one that has not answered for 10 s is not
    waited for: what it does is degraded anyway, and it starts with the newest config.

    Args:
        peers: connections by service.
        clock: seconds, never running backwards.
        canaries: connections to second releases, by a name of theirs, as they are now.
    """

    def __init__(
        self,
        peers: dict[str, Peer],
        clock: Callable[[], float] = time.monotonic,
        canaries: Callable[[], Mapping[str, Peer]] = dict,
    ) -> None:
        self._peers, self._canaries = peers, canaries
        self._clock = clock
        self._asking_since: dict[str, tuple[str, float]] = {}

    async def missing(self, digest: str) -> list[str]:
        """Services that are needed and do not have the snapshot `digest`."""
        peers = {**self._peers, **self._canaries()}
        answers = await asyncio.gather(*(self._has(name, peer, digest) for name, peer in peers.items()))
        return [name for name, has in zip(peers, answers, strict=True) if not has]

    async def _has(self, name: str, peer: Peer, digest: str) -> bool:
        stub = peer.stub(node_pb2_grpc.NodeServiceStub)
        try:
            status = await peer.unary(stub.GetStatus, node_pb2.GetStatusRequest(), _SELF.within(_TIMEOUT_S))
        except HeadraceError:
            asked, since = self._asking_since.get(name, ("", 0.0))
            if asked != digest:
                since = self._clock()
                self._asking_since[name] = (digest, since)
            return name != "inference" and self._clock() - since > _PATIENCE_S
        return digest in status.config_hashes
