"""Inference's control of deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace_kit.errors import HeadraceError, NotReady
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc
from headrace_rollout.adapters.reach import unreachable

_LOOK_S, _ACT_S = 10.0, 3600.0
_ME = Outbound(Identity("rollout"))

_TELLS_NOTHING = frozenset({"engine_away", "engine_lacks_model"})
"""Codes of inference's errors while an engine is being started again, or has not heard of a new model yet."""


class InferenceModels:
    """`Models` over the service inference. A load or unload takes up to an hour, and goes on when the caller leaves."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def states(self) -> Mapping[str, str]:
        """See `Models`."""
        found = await self._call(self._stub.ListDeployments, pb.ListDeploymentsRequest(), _LOOK_S)
        return {status.name: status.state for status in found.deployments}

    async def load(self, name: str) -> None:
        """See `Models`."""
        await self._call(self._stub.LoadDeployment, pb.LoadDeploymentRequest(deployment=name), _ACT_S)

    async def unload(self, name: str) -> None:
        """See `Models`."""
        await self._call(self._stub.UnloadDeployment, pb.UnloadDeploymentRequest(deployment=name), _ACT_S)

    async def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return await self._peer.unary(method, request, _ME.within(timeout_s))
        except HeadraceError as error:
            if unreachable(error):
                raise NotReady("inference cannot be reached") from error
            if error.code in _TELLS_NOTHING:  # of the model
                raise NotReady(error.message, code=error.code) from error
            if isinstance(error, NotReady):  # it was reached, and says that it cannot
                raise HeadraceError(error.message, code=error.code) from error
            raise
