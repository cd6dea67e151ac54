"""Starts what is measured, on free ports, and stops it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import headrace_local
from benchmarks.inference.peers import Bare
from benchmarks.inference.processes import Trees
from headrace_kit.config.deployments import entries_of
from headrace_kit.config.loading import load
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_local.triton import repository


@contextlib.contextmanager
def inference(deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[Platform]:
    """Triton and the inference service with `deployments`, of models in the default config's catalogue."""
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    document = default.model_dump(mode="json", exclude_none=True)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        config = folder / "headrace.yaml"
        config.write_text(json.dumps({"catalogue": document["catalogue"], "deployments": deployments}), "utf-8")
        used = {entry for one in load(config).deployments.values() for entry in entries_of(one)}
        catalogue = {entry: text for entry, text in document["catalogue"].items() if entry in used}
        config.write_text(json.dumps({"catalogue": catalogue, "deployments": deployments}), "utf-8")
        platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
        platform.start(["triton", "inference"], bound=True)
        try:
            yield platform
        finally:
            platform.stop()


@contextlib.contextmanager
def bare_engine(platform: Platform, deployment: str) -> Iterator[Bare]:
    """llama.cpp's own server on the settings that Triton's model of `deployment` has."""
    with _beside(platform, deployment, "bare_engine.py") as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the bare engine did not start:\n{_log(platform).read_text()[-2000:]}")
        yield Bare("llama.cpp", address, Trees((process.pid,)))


class BareRuntime:
    """onnxruntime in a process of its own, on the texts that it was given.

    Args:
        process: runs `bare_runtime.py`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def cpu_s(self, batch_size: int) -> float:
        """CPU seconds to embed all texts in batches of that size."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(batch_size, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


@contextlib.contextmanager
def bare_runtime(platform: Platform, deployment: str, texts: Sequence[str]) -> Iterator[BareRuntime]:
    """onnxruntime on the settings that Triton's model of `deployment` has."""
    with _beside(platform, deployment, "bare_runtime.py") as process:
        assert process.stdin is not None
        print(json.dumps(texts), file=process.stdin, flush=True)
        yield BareRuntime(process)


@contextlib.contextmanager
def _beside(platform: Platform, deployment: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """A script of this package in Triton's environment; it is given the deployment's settings."""
    settings = next((repository(platform.layout) / deployment).glob("*/settings.json"))
    python = platform.settings.triton_env / "bin" / "python"
    with _log(platform).open("w") as errors:
        process = subprocess.Popen(
            [python, Path(__file__).with_name(script), settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(platform: Platform) -> Path:
    return platform.layout.log("peer")
