"""The Tritons that deployments run on: one by default, or several, each with a client and a reader of its metrics."""

from __future__ import annotations

from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.metrics import TritonMetrics
from headrace_kit.config.deployments import BaseDeployment


class TritonServers:
    """Clients by address, made when first asked for.

    Args:
        address: host:port of the gRPC of the Triton that runs deployments which name none.
        metrics_address: host:port of its metrics; None where nobody is to read them.
    """

    def __init__(self, address: str, metrics_address: str | None) -> None:
        self._addresses = (address, metrics_address)
        self._clients: dict[str, TritonClient] = {}
        self._metrics: dict[str, TritonMetrics] = {}

    def client(self, config: BaseDeployment) -> TritonClient:
        """Calls to the Triton that runs a deployment."""
        address = getattr(config, "triton_address", None) or self._addresses[0]
        if address not in self._clients:
            self._clients[address] = TritonClient(address)
        return self._clients[address]

    def metrics(self, config: BaseDeployment) -> TritonMetrics | None:
        """That Triton's metrics; None where only the address of its gRPC is known."""
        address = getattr(config, "triton_metrics_address", None)
        if address is None:
            if getattr(config, "triton_address", None) not in (None, self._addresses[0]):
                return None
            address = self._addresses[1]
        if address is None:
            return None
        if address not in self._metrics:
            self._metrics[address] = TritonMetrics(address)
        return self._metrics[address]

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
        for metrics in self._metrics.values():
            await metrics.close()
