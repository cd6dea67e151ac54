"""Wires the service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from headrace_inference import catalogue
from headrace_inference.adapters.artefacts import LocalArtefacts
from headrace_inference.adapters.engines import Engines
from headrace_inference.adapters.triton.servers import TritonServers
from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Inference
from headrace_inference.domain.lifecycle import Lifecycle
from headrace_inference.grpc_api.servicer import InferenceServicer
from headrace_inference.media.inline import Media
from headrace_inference.metrics import Metrics
from headrace_kit.config.services import Inference as InferenceSettings
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.ending import end
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_protos.inference.v1 import service_pb2_grpc

_log = logging.getLogger(__name__)
REFRESH_S = 1.0
"""How often engines are asked for their state."""


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service from its config; nothing is contacted before `start`."""
    settings = cast(InferenceSettings, runtime.settings)
    tritons = TritonServers(
        settings.triton_address or f"{runtime.env.host}:{runtime.env.port('triton-grpc')}",
        settings.triton_metrics_address or f"{runtime.env.host}:{runtime.env.port('triton-metrics')}",
    )

    def files(entry: str) -> Mapping[str, Path]:
        return catalogue.files(runtime.configs.current.config, runtime.env, entry)

    models = settings.model_repository or runtime.env.data_dir / "triton" / "models"
    artefacts = LocalArtefacts(runtime.env, models)
    deployments = Deployments(Engines(tritons, runtime.secrets, files).make, Metrics(runtime.registry))
    lifecycle = Lifecycle(deployments, runtime.configs.current, artefacts, settings.drain_s)
    watch = _Watch(deployments, lifecycle)
    inference = Inference(deployments, runtime.tracer, Media(settings.media).inline)

    def follow(snapshot: Snapshot) -> None:
        inference.inline = Media(snapshot.config.services.inference.media).inline
        lifecycle.apply(snapshot)

    runtime.configs.on_change(follow)

    async def start() -> None:
        lifecycle.start()
        await watch.start()

    async def stop() -> None:
        artefacts.close()
        await watch.stop()
        await lifecycle.stop()
        await tritons.close()

    return ServiceApp(
        name="inference",
        servicers=[
            Servicing(
                service_pb2_grpc.add_InferenceServiceServicer_to_server,
                InferenceServicer(runtime.rpc, inference, lifecycle),
                "headrace.inference.v1.InferenceService",
            )
        ],
        start=start,
        stop=stop,
        problems=watch.problems,
        has=lifecycle.has,
    )


class _Watch:
    """Keeps the deployments' states fresh."""

    def __init__(self, deployments: Deployments, lifecycle: Lifecycle) -> None:
        self._deployments = deployments
        self._lifecycle = lifecycle
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, then go on in the background."""
        await self._lifecycle.refresh()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the background task."""
        await end(self._task)

    def problems(self) -> list[str]:
        """A line for each deployment that does not serve, when none does: one bad model takes nothing else down."""
        known = list(self._deployments)
        bad = [(entry.name, entry.shown_state) for entry in known if not (entry.ready or entry.sleep.asleep)]
        if len(bad) < len(known):
            return []
        return [f"{name}: {state.state} {state.detail}".rstrip() for name, state in bad]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._lifecycle.refresh()
            except Exception:
                _log.exception("could not refresh the engines' state")
