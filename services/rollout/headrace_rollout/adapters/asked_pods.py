"""A candidate outside of Kubernetes: asked itself whether it is there; and who is looked at by whom."""

from __future__ import annotations

from collections.abc import Callable

from headrace_kit.config.services import Pods
from headrace_kit.config.services import Routes as Settings
from headrace_kit.errors import HeadraceError, NotReady
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.common.v1 import node_pb2, node_pb2_grpc
from headrace_rollout.ports import Routes, Seen

_WITHIN_S = 2.0
_ME = Identity("rollout")


class AskedPods:
    """See `Routes`; one process is one pod. That it was started again is seen by its uptime.

    Args:
        peer: the connection to the candidate, where the config says where it is.
    """

    def __init__(self, peer: Callable[[], Peer | None]) -> None:
        self._peer = peer
        self._uptime_s, self._restarts = 0.0, 0

    async def look(self, routes: Settings | Pods) -> Seen:
        """See `Routes`."""
        peer = self._peer()
        if peer is None:
            raise NotReady("services.guardrails.canary_address does not say where the candidate listens")
        stub = peer.stub(node_pb2_grpc.NodeServiceStub)
        try:
            found = await peer.unary(stub.GetStatus, node_pb2.GetStatusRequest(), Outbound(_ME).within(_WITHIN_S))
        except HeadraceError as error:
            return Seen(None, 0, self._restarts, f"it does not answer: {error.message}")
        self._restarts += found.uptime_s < self._uptime_s
        self._uptime_s = found.uptime_s
        return Seen(None, int(found.ready), self._restarts, "; ".join(found.notes)[:300])

    async def set_weight(self, routes: Settings | Pods, weight: int) -> None:
        """See `Routes`."""
        raise NotReady("there are no routes outside of Kubernetes")

    async def close(self) -> None:
        """See `Routes`."""


class Lookout:
    """See `Routes`: Kubernetes where the settings name a Service, else the candidate itself.

    Args:
        kubernetes: makes the first, when it is needed. Raises NotReady: this is no pod.
        asked: the second.
    """

    def __init__(self, kubernetes: Callable[[], Routes], asked: Routes) -> None:
        self._kubernetes, self._asked = kubernetes, asked
        self._made: Routes | None = None

    async def look(self, routes: Settings | Pods) -> Seen:
        """See `Routes`."""
        return await self._of(routes).look(routes)

    async def set_weight(self, routes: Settings | Pods, weight: int) -> None:
        """See `Routes`."""
        await self._of(routes).set_weight(routes, weight)

    async def close(self) -> None:
        """See `Routes`."""
        if self._made is not None:
            await self._made.close()

    def _of(self, routes: Settings | Pods) -> Routes:
        if routes.canary is None:
            return self._asked
        if self._made is None:
            self._made = self._kubernetes()
        return self._made
