"""Loads a model repository into a Triton of its own, to see whether it can be: `headrace models render --check`."""

import contextlib
import glob
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace_inference.rendering import versions
from headrace_local import triton
from headrace_local.layout import Layout
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_local.units import Unit

START_S = 300
"""Longest time that Triton may take to load everything."""

_LOOK_S = 0.2
_LOG_LINES = 5
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def loader() -> Callable[[Path], list[str]] | None:
    """What starts Triton on a repository and says what did not load; None where no Triton is installed."""
    try:
        there = triton.environment(Settings.from_environment().triton_env)
    except triton.TritonError:
        return None
    return lambda repository: load(repository, there)


def load(repository: Path, there: triton.TritonEnvironment) -> list[str]:
    """Load every model of a repository; a line for each that Triton refused, empty when all serve."""
    with tempfile.TemporaryDirectory(prefix="headrace-trial-") as folder:
        layout = Layout.of(folder)
        triton.link_backend(layout, there)
        triton.repository(layout).symlink_to(repository.resolve())
        base = free_port_base()
        ports = (base, base + 1, base + 2)
        unit = triton.unit(layout, there, ports, os.environ.get("PATH", ""), os.environ.get("LD_LIBRARY_PATH", ""))
        with _running(unit, Path(folder) / "log") as server:
            return _refused(server, f"http://127.0.0.1:{ports[0]}", Path(folder) / "log")


@contextmanager
def _running(unit: Unit, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    links = [Path(path) for path in unit.links]
    for link in links:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(unit.links[str(link)])
    with log.open("wb") as out:
        server = subprocess.Popen(
            unit.argv, env={**os.environ, **unit.env}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(unit.stop_s)
        except subprocess.TimeoutExpired:
            # a model that loads does not stop for a polite signal; its own processes are in the same session
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        for link in links:
            link.unlink(missing_ok=True)
        for left in (path for pattern in unit.stale_files for path in glob.glob(pattern)):  # noqa: PTH207, absolute
            Path(left).unlink(missing_ok=True)


def _refused(server: "subprocess.Popen[bytes]", url: str, log: Path) -> list[str]:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
            return [f"Triton ended with {server.returncode}: {' / '.join(lines)}"]
        with contextlib.suppress(OSError, urllib.error.URLError):
            _ask("GET", f"{url}/v2/health/ready")
            models: list[dict[str, str]] = json.loads(_ask("POST", f"{url}/v2/repository/index"))
            if not any(model.get("state") == "LOADING" for model in models):
                version = json.loads(_ask("GET", f"{url}/v2"))["version"]
                return versions.problems("triton-python", {"triton": version}) + [
                    f"{model['name']}: {model.get('reason') or model.get('state') or 'not loaded'}"
                    for model in models
                    if model.get("state") != "READY"
                ]
        time.sleep(_LOOK_S)
    return [f"Triton was not ready after {START_S} s"]


def _ask(method: str, url: str) -> Any:
    with _NO_PROXY.open(urllib.request.Request(url, method=method), timeout=5) as answer:  # noqa: S310, loopback
        return answer.read()
