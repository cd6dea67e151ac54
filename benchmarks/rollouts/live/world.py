"""Two gateways and the rollout service on real stores, an endpoint, and load."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headrace_kit.config.ports import OFFSETS
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

_HERE = Path(__file__).parent
_OPS = OFFSETS["gateway-ops"] - OFFSETS["gateway-http"]
MODEL, PLAIN, LIVELY = "swapped", "plain", "assistant"
"""Of rollouts, of none, and one whose answers take times of their own and fail now and then."""

OF = ("of-100-10", "of-90-10", "of-90-40")
"""Deployments of such times: a baseline, a candidate that is a little faster, and one of which 4% fails."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request: when it was sent (seconds since 1970), how long it took, at which gateway, its status and arm."""

    sent_s: float
    took_ms: float
    port: int
    status: int
    arm: str


class World:
    """What runs; `ports` are those of both gateways."""

    def __init__(self, platform: Platform, second: tuple[int, int], kept: Path) -> None:
        """`second` has the port and the process id of the second gateway."""
        secrets, run = platform.layout.secrets, platform.status()
        assert run is not None
        self.ports = (platform.port("gateway-http"), second[0])
        self._processes = {
            self.ports[0]: psutil.Process(run.units["gateway"].pid),
            second[0]: psutil.Process(second[1]),
        }
        self._admin = (secrets / "bootstrap-admin-key").read_text().strip()
        self._kept = kept
        self._number = 0
        self.key = self._call("POST", "/v1/admin/keys", {"tenant": "bench", "name": "bench", "scopes": []})["key"]

    def start(self, deployment: str, steps: list[dict[str, Any]], model: str = MODEL, **more: Any) -> str:
        """Begin a rollout; its id. Each is another one."""
        self._number += 1
        spec = {"candidate": {"deployment": deployment, "timeout_ms": 60_000 + self._number}, "steps": steps, **more}
        return str(self._call("POST", "/v1/admin/rollouts", {"model": model, "spec": spec})["id"])

    def abort(self, id_: str) -> None:
        """Back to the baseline."""
        self._call("POST", f"/v1/admin/rollouts/{id_}:abort", {"reason": "measured"})

    def explain(self, id_: str) -> dict[str, Any]:
        """What happened."""
        return self._call("GET", f"/v1/admin/rollouts/{id_}/explanation")

    def until(self, id_: str, state: str, within_s: float = 60) -> dict[str, Any]:
        """Wait for a state; the explanation."""
        deadline = time.monotonic() + within_s
        while (told := self.explain(id_))["rollout"]["state"] != state:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the rollout is not {state}: {told}")
            time.sleep(0.1)
        return told

    @contextlib.contextmanager
    def load(self, models: Mapping[int, str], rate: float) -> Iterator[None]:
        """Requests for a model at each port, so many a second."""
        options = {"ports": models, "key": self.key, "rate": rate, "file": str(self._kept)}
        with _process([str(_HERE / "load.py"), json.dumps(options)]):
            yield

    def seen(self, since_s: float = 0.0) -> list[Seen]:
        """The requests that were sent since then and have ended."""
        time.sleep(0.3)  # what has ended is on its way into the file
        rows = [line.split(" ") for line in self._kept.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [
            Seen(int(sent) / 1e9, int(took) / 1000, int(port), int(status), arm.strip())
            for sent, took, port, status, arm in rows
            if int(sent) / 1e9 >= since_s
        ]

    def cpu_s(self, port: int) -> float:
        """CPU seconds that the gateway at a port has taken so far."""
        times = self._processes[port].cpu_times()
        return float(times.user + times.system)

    def copies(self) -> int:
        """Copies of requests that were made by both gateways."""
        found = 0.0
        for port in self.ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port + _OPS}/metrics", timeout=30) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("headrace_gateway_shadows_total") and 'outcome="done"' in line:
                        found += float(line.rsplit(" ", 1)[1])
        return int(found)

    def until_on(self, arm: str, since_s: float) -> None:
        """Wait until each port with load has served this arm."""
        deadline = time.monotonic() + 30
        while {row.port for row in self.seen(since_s) if row.arm == arm} != set(self.ports):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no request was on the {arm} of both gateways within 30 s")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[0]}{path}",
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {self._admin}", "content-type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode()}") from error


@contextlib.contextmanager
def running(delay_ms: float) -> Iterator[World]:
    """Start all of it; the endpoint answers after `delay_ms`. It is stopped at the end."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        base, upstream = free_port_base(), _free_port()
        path = folder / "headrace.yaml"
        path.write_text(json.dumps(_config(upstream, base + OFFSETS["rollout-grpc"])), "utf-8")
        platform = Platform(Settings(data_dir=folder / "data", port_base=base, config=path))
        with _process([str(_HERE / "endpoint.py"), str(upstream), str(delay_ms)]):
            try:
                platform.start(["postgres", "schema", "valkey", "gateway", "rollout"], bound=True)
                second = free_port_base()
                env = {
                    "HEADRACE_CONFIG": str(path),
                    "HEADRACE_DATA_DIR": str(folder / "second"),
                    "HEADRACE_SECRETS_DIR": str(platform.layout.secrets),
                    "HEADRACE_PORT_BASE": str(second),
                }
                with _process(["-m", "headrace_kit.hosting", "gateway"], env) as pid:
                    _ready(second + OFFSETS["gateway-ops"])
                    yield World(platform, (second + OFFSETS["gateway-http"], pid), folder / "seen")
            finally:
                platform.stop()


def _config(upstream: int, rollout: int) -> dict[str, Any]:
    limits = {"requests_per_minute": 10_000_000, "tokens_per_minute": 1_000_000_000, "concurrent_requests": 100_000}
    price = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    deployments = {
        name: {
            "engine": "openai",
            "address": f"http://127.0.0.1:{upstream}/{name}/v1",
            "model": "there",
            "max_in_flight": 10_000,
            "logprobs": False,
            "price": price,
        }
        for name in ("steady", "next", "broken", *OF)
    }
    return {
        "tenants": {"bench": {"limits": limits, "budget": {"usd": 100_000, "per": "month"}}},
        "deployments": deployments,
        "models": {
            name: {"deployment": deployment, "retry": {"attempts": 1}, "breaker": None}
            for name, deployment in {MODEL: "steady", PLAIN: "steady", LIVELY: OF[0]}.items()
        },
        "services": {"rollout": {"address": f"127.0.0.1:{rollout}"}},
    }


@contextlib.contextmanager
def _process(arguments: list[str], env: dict[str, str] | None = None) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return
        if time.monotonic() > deadline:
            raise RuntimeError("the second gateway does not become ready")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port
