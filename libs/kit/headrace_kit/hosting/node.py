"""`NodeService`, which every service offers: which snapshots it can serve, and whether it is well."""

from __future__ import annotations

from headrace_kit.config.ports import SERVICES
from headrace_kit.hosting.service import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.servicer import rpc
from headrace_kit.telemetry.tracing import VERSION
from headrace_protos.common.v1 import node_pb2, node_pb2_grpc


class NodeServicer(node_pb2_grpc.NodeServiceServicer):
    """Answers from memory."""

    def __init__(self, runtime: ServiceRuntime, app: ServiceApp) -> None:
        self.rpc_runtime = runtime.rpc
        self._runtime = runtime
        self._app = app

    @rpc(callers=frozenset(SERVICES))
    async def GetStatus(self, request: node_pb2.GetStatusRequest, call: Call) -> node_pb2.NodeStatus:
        """See the proto."""
        problems = self._app.problems()
        if self._runtime.configs.error:
            problems = [*problems, f"config refused: {self._runtime.configs.error}"]
        return node_pb2.NodeStatus(
            service=self._runtime.service,
            version=VERSION,
            config_hashes=[digest for digest in self._runtime.configs.hashes if self._app.has(digest)],
            ready=not self._app.problems(),
            notes=problems,
            uptime_s=self._runtime.uptime_s(),
        )


def node_servicing(runtime: ServiceRuntime, app: ServiceApp) -> Servicing:
    """The servicer for a host to add beside the service's own."""
    return Servicing(
        node_pb2_grpc.add_NodeServiceServicer_to_server, NodeServicer(runtime, app), "headrace.common.v1.NodeService"
    )
