"""`python -m benchmarks.platform.ingress [--requests N] [--rounds N] [--json]`: gRPC on Ray Serve, by two ways.

One service in one Ray Serve application is called through Serve's own gRPC ingress (HAProxy, set up as headrace does)
on a port that its replica opens itself, in turns and by the same client. CPU time a call of the processes on the way is
the figure to trust; the rest of Ray is told beside it, and costs by the clock rather than by the call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer, write_keys
from headrace_local.ports import free_port_base
from headrace_local.ray.session import members
from headrace_protos.guardrails.v1 import messages_pb2, service_pb2_grpc

WAYS = {"Serve's ingress": "gateway-grpc", "the replica's own port": "guardrails-grpc"}
CONCURRENCY = 32
PATIENCE_S = 900
SHIM = "from benchmarks.platform.echo import build\n\n__all__ = ['build']\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.platform.ingress", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="calls of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each way, in turns")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, serving(Path(folder)) as base:
        found = asyncio.run(measure(Path(folder), base, given.requests, given.rounds))
    if given.json:
        print(json.dumps(found))
        return
    table = Table("gRPC on Ray Serve, CPU us a call", "replica", "HAProxy", "both", "the rest of Ray")
    for way, figures in found.items():
        row = (figures["replica"], figures["haproxy"], figures["replica"] + figures["haproxy"], figures["rest"])
        table.add_row(way, *(f"{value:.0f}" for value in row))
    ingress, own = (figures["replica"] + figures["haproxy"] for figures in found.values())
    Console().print(table, f"{CONCURRENCY} calls at a time; through Serve's ingress {ingress / own:.1f} times the CPU")


@contextlib.contextmanager
def serving(data: Path) -> Iterator[int]:
    """The Ray host with the one service; yields the first of its ports."""
    base = free_port_base()
    write_keys(data / "secrets" / "signing", SERVICES)
    (data / "headrace.yaml").write_text("services: {guardrails: {drain_s: 1}}\n")
    shim = data / "shim" / "headrace_guardrails"
    shim.mkdir(parents=True)
    (shim / "__init__.py").touch()
    (shim / "app.py").write_text(SHIM)
    path = os.pathsep.join(filter(None, (str(shim.parent), str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    env = {
        "HEADRACE_CONFIG": str(data / "headrace.yaml"),
        "HEADRACE_DATA_DIR": str(data),
        "HEADRACE_PORT_BASE": str(base),
        "PYTHONPATH": path,
    }
    with (data / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace_local.ray", "--services", "guardrails"],
            env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _ready(base + OFFSETS["ray-ops"]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Ray does not start: {(data / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield base
    finally:
        process.terminate()
        process.wait(180)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def measure(data: Path, base: int, requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """CPU microseconds a call by way and kind of process: the median of the rounds, after one that does not count."""
    folder = Path((data / "run" / "ray-session").read_text().strip())
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for turn in range(rounds + 1):
        for way, port in WAYS.items():
            before = cpu_s(folder)
            await calls(f"127.0.0.1:{base + OFFSETS[port]}", data, requests)
            for kind, after in cpu_s(folder).items():
                if turn:
                    taken[way].setdefault(kind, []).append((after - before[kind]) / requests * 1e6)
    return {way: {kind: statistics.median(values) for kind, values in kinds.items()} for way, kinds in taken.items()}


def cpu_s(folder: Path) -> dict[str, float]:
    """CPU seconds of a session's processes so far, by kind."""
    sums = {"replica": 0.0, "haproxy": 0.0, "rest": 0.0}
    for pid in members(folder):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            line, times = " ".join(process.cmdline()), process.cpu_times()
            kind = "replica" if "ServeReplica" in line else "haproxy" if line.startswith(str(folder)) else "rest"
            if Path(process.name()).name.startswith("haproxy"):
                kind = "haproxy"
            sums[kind] += times.user + times.system
    return sums


async def calls(address: str, data: Path, count: int) -> None:
    """So many calls over one connection, `CONCURRENCY` at a time."""
    peer = Peer("guardrails", address, Signer("gateway", data / "secrets" / "signing"))
    check = peer.stub(service_pb2_grpc.GuardrailsServiceStub).Check
    request, who = messages_pb2.CheckRequest(text="hello"), Outbound(Identity("gateway"))
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            answer = await peer.unary(check, request, who)
            assert answer.text == "hello"

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    await peer.close()


if __name__ == "__main__":
    main()
