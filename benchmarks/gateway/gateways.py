"""The gateways that are compared, each pinned to one core, in front of the same upstream."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headrace_local
from benchmarks.inference.processes import Trees
from headrace_kit.config.loading import load
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_CORE, LOAD_CORE = 0, 1
_ENVOY = "type.googleapis.com/envoy.extensions.filters"
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs: where it listens, how the model is called there, and its processes (none: no gateway)."""

    name: str
    port: int
    path: str
    model: str
    trees: Trees
    headers: Mapping[str, str] = field(default_factory=dict)


def pin(pid: int, core: int) -> None:
    """Keep a process and everything below it on a core."""
    for process in Trees((pid,))._processes():
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread.name), {core})


@contextlib.contextmanager
def started(command: Sequence[str | Path], ready: int, log: Path, core: int, **env: str) -> Iterator[int]:
    """A program on a core, when it listens on the port `ready`; its process id. It is stopped at the end.

    Raises:
        RuntimeError: it ended instead; the message has the end of its log.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}
        )
    try:
        deadline = time.monotonic() + 300
        while not _listens(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    return f"0100007F:{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


def config(upstream: int) -> dict[str, Any]:
    """Our config, with an endpoint on the port `upstream`."""
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml")).model_dump(mode="json", exclude_none=True)
    return {
        "tenants": {
            "bench": {
                "limits": {
                    "requests_per_minute": 10_000_000,
                    "tokens_per_minute": 1_000_000_000,
                    "concurrent_requests": 100_000,
                },
                "budget": {"usd": 100_000, "per": "month"},
            }
        },
        "deployments": {
            "out": {
                "engine": "openai",
                "address": f"http://127.0.0.1:{upstream}/v1",
                "model": "mock",
                "max_in_flight": 10_000,
                "price": {"input_usd_per_million": 0.05, "output_usd_per_million": 0.1},
            }
        },
        "models": {"core": {"deployment": "out"}, "full": {"deployment": "out", "guardrails": "standard"}},
        "guardrails": {"standard": default["guardrails"]["standard"]},
        "services": {"gateway": {"max_in_flight": 10_000}},
        "telemetry": {"sample": "10%"},
    }


@contextlib.contextmanager
def headrace(upstream: int, folder: Path) -> Iterator[list[Gateway]]:
    """Ours in two profiles: `core`, and `full` with guardrails both ways and every request traced."""
    path = folder / "headrace.yaml"
    path.write_text(json.dumps(config(upstream)), "utf-8")
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=path))
    platform.start(["postgres", "schema", "valkey", "tracing", "gateway"], bound=True)
    try:
        run = platform.status()
        assert run is not None
        for name, unit in run.units.items():
            if unit.pid:
                pin(unit.pid, GATEWAY_CORE if name == "gateway" else LOAD_CORE)
        pid = run.units["gateway"].pid
        assert pid is not None
        key = _key(platform, folder / "data")
        made = [
            Gateway(name, platform.port("gateway-http"), "/v1/chat/completions", model, Trees((pid,)),
                    {"authorization": f"Bearer {key}", **headers})
            for name, model, headers in (
                ("headrace core", "core", {}), ("headrace full", "full", {"traceparent": SAMPLED}),
            )
        ]  # fmt: skip
        yield made
    finally:
        platform.stop()


def _key(platform: Platform, data: Path) -> str:
    """A key of the tenant `bench`."""
    admin = (platform.layout.secrets / "bootstrap-admin-key").read_text().strip()
    body = json.dumps({"tenant": "bench", "name": "bench"}).encode()
    headers = {"authorization": f"Bearer {admin}", "content-type": "application/json"}
    request = urllib.request.Request(f"{platform.url}/v1/admin/keys", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["key"])


@contextlib.contextmanager
def litellm(upstream: int, folder: Path, port: int) -> Iterator[list[Gateway]]:
    """LiteLLM's proxy with one worker and no database."""
    config = folder / "litellm.yaml"
    entry = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "mock", "litellm_params": entry}]}), "utf-8")
    command: list[str | Path] = [
        ROOT / ".venv-litellm/bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port),
        "--num_workers", "1",
    ]  # fmt: skip
    env = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PATH": f"{ROOT / '.venv-litellm/bin'}:{os.environ['PATH']}",
    }
    with started(command, port, folder / "litellm.log", GATEWAY_CORE, **env) as pid:
        yield [Gateway("LiteLLM proxy", port, "/v1/chat/completions", "mock", Trees((pid,)))]


@contextlib.contextmanager
def tensorzero(upstream: int, folder: Path, port: int) -> Iterator[list[Gateway]]:
    """TensorZero's gateway without observability, behind a loop that only keeps its process alive."""
    config = folder / "tensorzero.toml"
    config.write_text(
        f"""[gateway]
observability.enabled = false
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "mock"
api_base = "http://127.0.0.1:{upstream}/v1"
api_key_location = "none"
"""
    )
    told = folder / "tensorzero.port"
    script = folder / "tensorzero_main.py"
    script.write_text(
        f"""import pathlib, threading
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(config_file={str(config)!r}, clickhouse_url=None, postgres_url=None, valkey_url=None,
                              async_setup=False)
pathlib.Path({str(told)!r}).write_text(gateway.base_url)
threading.Event().wait()
"""
    )
    log = folder / "tensorzero.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(GATEWAY_CORE), ROOT / ".venv-peers/bin/python", script],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"TensorZero did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        found = int(told.read_text().split(":")[2].split("/")[0])
        yield [Gateway("TensorZero", found, "/openai/v1/chat/completions", "tensorzero::model_name::mock",
                       Trees((process.pid,)))]  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def envoy(upstream: int, folder: Path, port: int) -> Iterator[list[Gateway]]:
    """Envoy as a plain reverse proxy with one worker: what any gateway pays for two connections."""

    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    manager = {
        "@type": f"{_ENVOY}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": f"{_ENVOY}.http.router.v3.Router"}}],
    }  # fmt: skip
    config = {"static_resources": {
        "listeners": [{"address": at(port), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "upstream", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {
            "thresholds": [
            {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}]},
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": at(upstream)}}]}]}}],
    }}  # fmt: skip
    path = folder / "envoy.json"
    path.write_text(json.dumps(config), "utf-8")
    command: list[str | Path] = [
        ROOT / ".venv-peers/bin/envoy", "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error",
    ]  # fmt: skip
    with started(command, port, folder / "envoy.log", GATEWAY_CORE) as pid:
        yield [Gateway("Envoy", port, "/v1/chat/completions", "mock", Trees((pid,)))]


@contextlib.contextmanager
def direct(upstream: int, folder: Path, port: int) -> Iterator[list[Gateway]]:
    """No gateway: the upstream alone."""
    yield [Gateway("upstream alone", upstream, "/v1/chat/completions", "mock", Trees(()))]


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        yield Path(name)
