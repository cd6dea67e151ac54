"""A real Triton, started to see whether it loads a model repository, and stopped again."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from headrace_inference.rendering import versions
from headrace_kit.config.ports import OFFSETS
from headrace_local import stale, triton
from headrace_local.layout import Layout
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

LOAD_S = 300
"""Longest wait for all models."""

_POLL_S = 0.2
_LOG_LINES = 5


def load_models(repository: Path, triton_env: Path | None = None) -> list[str]:
    """Load every model of a repository, and say which did not load and why; empty: all are ready.

    Args:
        repository: models for Triton's Python backend, with paths of weights on this machine.
        triton_env: virtual environment that holds Triton. Default: HEADRACE_TRITON_ENV, or the local platform's.

    Raises:
        TritonError: Triton is not there.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-triton-"))
    try:
        layout = Layout.of(folder)
        there = triton.environment(triton_env or Settings(data_dir=folder).triton_env)
        triton.link_backend(layout, there)
        triton.repository(layout).symlink_to(repository.resolve())
        base = free_port_base()
        http, grpc, metrics = (base + OFFSETS[f"triton-{kind}"] for kind in ("http", "grpc", "metrics"))
        libraries = os.environ.get("LD_LIBRARY_PATH", "")
        unit = triton.unit(layout, there, (http, grpc, metrics), os.environ.get("PATH", ""), libraries)
        log = folder / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                unit.argv, env={**os.environ, **unit.env}, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            return _problems(server, http, log)
        finally:
            server.terminate()
            try:
                server.wait(unit.stop_s)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            stale.remove(unit.stale_files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _problems(server: subprocess.Popen[bytes], http: int, log: Path) -> list[str]:
    """What the server says of its models once it has tried all."""
    until = time.monotonic() + LOAD_S
    while time.monotonic() < until:
        if server.poll() is not None:
            return [f"Triton ended with status {server.returncode}: {_tail(log)}"]
        try:
            _ask(http, "/v2/health/ready", None)
            version = _ask(http, "/v2", None)["version"]
            index = _ask(http, "/v2/repository/index", {})
        except (OSError, urllib.error.URLError):
            time.sleep(_POLL_S)
            continue
        if any(model.get("state") in ("LOADING", "UNLOADING") for model in index):
            time.sleep(_POLL_S)
            continue
        return versions.problems("triton-python", {"triton": version}) + [
            f"{model['name']}: Triton does not load it: {model.get('reason') or 'no reason given'}"
            for model in index
            if model.get("state") != "READY"
        ]
    return [f"Triton was not ready within {LOAD_S} s: {_tail(log)}"]


def _ask(port: int, path: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data)
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
        text = response.read()
    return json.loads(text) if text else None


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
