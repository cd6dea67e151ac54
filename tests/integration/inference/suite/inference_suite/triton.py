"""The real Triton with our models and the stand-ins, one for all tests of a session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

import headrace_local
from headrace_inference.adapters.triton.client import TritonClient
from headrace_kit.config.loading import load
from headrace_kit.errors import HeadraceError
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_local.triton import repository
from inference_suite.waiting import until

MODELS = Path(__file__).parents[2] / "models"
STANDINS = {"standin-vllm": "vllm_backend", "standin-tensorrtllm": "llmapi"}
"""Model -> folder."""

DEPLOYMENTS = ("small", "minilm", "reranker", "scripted")


class Triton:
    """Triton under the local platform's supervisor.

    Args:
        folder: an empty one, for its data.
    """

    def __init__(self, folder: Path) -> None:
        config = folder / "headrace.yaml"
        config.write_text(config_text())
        self.config = load(config)
        self._platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
        self._folder = folder

    @property
    def address(self) -> str:
        """Of its gRPC endpoint."""
        return f"127.0.0.1:{self._platform.port('triton-grpc')}"

    def start(self) -> None:
        """Start it and put the stand-ins beside our models; `until_loaded` waits for a model."""
        self._platform.start(["triton"], bound=True)
        for name, kind in STANDINS.items():
            folder = repository(self._platform.layout) / name
            shutil.copytree(MODELS / kind, folder, ignore=shutil.ignore_patterns("__pycache__"))

    async def until_loaded(self, client: TritonClient, name: str) -> None:
        """Wait until a model is ready: Triton may just have been killed, and finds stand-ins only when told of them."""

        async def ready() -> bool:
            state = await client.state(name)
            if state.state == "unloaded":
                with contextlib.suppress(HeadraceError):
                    await client.load(name)
            return (await client.state(name)).state == "ready"

        await until(ready, within_s=120)

    def stop(self) -> None:
        """Stop it."""
        self._platform.stop()

    async def kill(self) -> None:
        """kill -9; it is started again."""
        await asyncio.to_thread(self._platform.kill, "triton")

    async def metric(self, name: str, labels: Mapping[str, str]) -> float:
        """Sum of a metric's samples with these labels."""
        url = f"http://127.0.0.1:{self._platform.port('triton-metrics')}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def config_text() -> str:
    """The default config's deployments without the larger language model."""
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    used = {getattr(default.deployments[name], "model", None) for name in DEPLOYMENTS}
    return json.dumps(
        {
            "catalogue": {
                name: entry.model_dump(mode="json", exclude_none=True)
                for name, entry in default.catalogue.items()
                if name in used
            },
            "deployments": {
                name: default.deployments[name].model_dump(mode="json", exclude_none=True) for name in DEPLOYMENTS
            },
        }
    )
