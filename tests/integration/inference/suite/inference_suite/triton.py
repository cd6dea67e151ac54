"""The real Triton with our models and the stand-ins, one for all tests of a session."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

import headrace_local
from headrace_kit.config.load import load
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_local.triton import repository

STANDINS = Path(__file__).parents[2] / "models"
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
        """Start it; returns when it serves."""
        self._platform.start(["triton"], bound=True)

    def add_standin(self, kind: str, name: str) -> None:
        """Put a stand-in into the repository as `name`; the test loads it."""
        folder = repository(self._platform.layout) / name
        shutil.copytree(STANDINS / kind, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def remove(self, name: str) -> None:
        """Take a model out of the repository."""
        shutil.rmtree(repository(self._platform.layout) / name)

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
