"""Wires the service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.engine import TritonEngine
from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Inference
from headrace_inference.grpc_api.servicer import InferenceServicer
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Engine
from headrace_kit.config.deployments import Deployment as DeploymentConfig
from headrace_kit.config.services import Inference as InferenceSettings
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_protos.inference.v1 import service_pb2_grpc

_log = logging.getLogger(__name__)
REFRESH_S = 1.0
"""How often engines are asked for their state."""


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service from its config; nothing is contacted before `start`."""
    settings = cast(InferenceSettings, runtime.settings)
    client = TritonClient(settings.triton_address or f"{runtime.env.host}:{runtime.env.port('triton-grpc')}")

    def make_engine(name: str, config: DeploymentConfig) -> Engine:
        return TritonEngine(name, client)

    deployments = Deployments(runtime.configs.current.config, make_engine)
    metrics = Metrics(runtime.registry)
    inference = Inference(deployments, runtime.tracer, metrics)
    watch = _Watch(deployments, metrics)

    def follow(snapshot: Snapshot) -> None:
        deployments.apply(snapshot.config)

    runtime.configs.on_change(follow)

    async def stop() -> None:
        await watch.stop()
        await client.close()

    return ServiceApp(
        name="inference",
        servicers=[
            Servicing(
                service_pb2_grpc.add_InferenceServiceServicer_to_server,
                InferenceServicer(runtime.rpc, inference, settings.drain_s),
                "headrace.inference.v1.InferenceService",
            )
        ],
        start=watch.start,
        stop=stop,
        problems=watch.problems,
    )


class _Watch:
    """Keeps the deployments' states fresh."""

    def __init__(self, deployments: Deployments, metrics: Metrics) -> None:
        self._deployments = deployments
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, then go on in the background."""
        await self._refresh()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the background task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def problems(self) -> list[str]:
        """A line for each deployment that does not serve, when none does: one bad model takes nothing else down."""
        bad = [
            f"{entry.name}: {entry.state.state} {entry.state.detail}".rstrip()
            for entry in self._deployments
            if entry.state.state != "ready"
        ]
        return bad if len(bad) == len(list(self._deployments)) else []

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._refresh()
            except Exception:
                _log.exception("could not refresh the engines' state")

    async def _refresh(self) -> None:
        await self._deployments.refresh()
        for entry in self._deployments:
            self._metrics.ready.labels(entry.name).set(entry.state.state == "ready")
