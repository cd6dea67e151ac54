"""`python -m benchmarks.gateway [GATEWAY ...] [--json] [--requests N]`, or `make bench-gateway`.

Gateways: direct, envoy, tensorzero, headrace, litellm. Each is started alone, pinned to the first core, with load and
upstream on the second, and measured in the same run. CPU time of its process tree per request is the figure to trust;
latencies are those of a machine whose second core makes the load and the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gateway import gateways, upstream
from benchmarks.gateway.gateways import LOAD_CORE, Gateway
from headrace_local.ports import free_port_base

HERE = Path(__file__).parent
START: dict[str, Callable[[int, Path, int], AbstractContextManager[list[Gateway]]]] = {
    "direct": gateways.direct,
    "envoy": gateways.envoy,
    "tensorzero": gateways.tensorzero,
    "headrace": lambda upstream, folder, _: gateways.headrace(upstream, folder),
    "litellm": gateways.litellm,
}
SLOW = "LiteLLM proxy"
"""Gets a tenth of the requests, which still take longest."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.gateway", description=__doc__)
    parser.add_argument("gateways", nargs="*", metavar="GATEWAY", help=", ".join(START))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, a line for each gateway")
    parser.add_argument("--requests", type=int, default=5000, help="requests of a row, and a tenth of them streams")
    parser.add_argument("--concurrency", default="1,32,256", help="requests at one time")
    parser.add_argument("--memory-requests", type=int, default=0, help="then so many more of ours, to see memory stay")
    parser.add_argument("--idle-streams", type=int, default=0, help="then so many streams of ours held open")
    given = parser.parse_args()
    if unknown := set(given.gateways) - set(START):
        parser.error(f"there is no gateway {', '.join(sorted(unknown))}; there are {', '.join(START)}")
    found: list[dict[str, Any]] = []
    base = free_port_base()
    with gateways.workspace() as folder:
        command: list[str | Path] = [sys.executable, HERE / "upstream.py", str(base)]
        with gateways.started(command, base, folder / "upstream.log", LOAD_CORE):
            for name in given.gateways or START:
                with START[name](base, folder, base + 1) as made:
                    for gateway in made:
                        figures = measure(gateway, given)
                        found.append(figures)
                        if given.json:
                            print(json.dumps(figures), flush=True)
    if not given.json:
        show(found, Console(width=max(170, Console().width)))


def measure(gateway: Gateway, given: argparse.Namespace) -> dict[str, Any]:
    """All figures of one gateway."""
    count = max(50, given.requests // (10 if gateway.name == SLOW else 1))
    figures: dict[str, Any] = {"gateway": gateway.name}
    load(gateway, requests=max(20, count // 5), concurrency=min(32, count))  # warm-up
    for concurrency in (int(number) for number in given.concurrency.split(",")):
        few = count if concurrency > 1 else max(20, count // 5)
        row = load(gateway, requests=max(few, concurrency), concurrency=concurrency)
        figures[f"cpu_us_{concurrency}"] = row["cpu_us"]
        figures[f"p50_ms_{concurrency}"], figures[f"p99_ms_{concurrency}"] = row["p50_ms"], row["p99_ms"]
        figures["errors"] = figures.get("errors", 0) + row["errors"]
    whole = min(value for name, value in figures.items() if name.startswith("cpu_us_"))
    row = load(gateway, requests=max(50, count // 10), concurrency=32, streams=True)
    figures["stream_cpu_us"], figures["errors"] = row["cpu_us"], figures["errors"] + row["errors"]
    figures["chunk_cpu_us"] = (row["cpu_us"] - whole) / upstream.CHUNKS
    rate = min(1000.0, 0.5e6 / row["cpu_us"]) if row["cpu_us"] else 300.0
    row = load(gateway, requests=max(50, min(int(rate * 4), count)), rate=rate, streams=True)
    figures |= {"first_rate": rate, "first_p50_ms": row["first_p50_ms"], "first_p99_ms": row["first_p99_ms"]}
    figures["rss_mib"], figures["pss_mib"] = memory(gateway)
    if gateway.name.startswith("headrace") and given.memory_requests:
        load(gateway, requests=given.memory_requests, concurrency=32)
        figures["memory_requests"], figures["pss_mib_after"] = given.memory_requests, memory(gateway)[1]
    if gateway.name.startswith("headrace") and given.idle_streams:
        figures["idle_streams"], figures["pss_mib_idle"] = given.idle_streams, held(gateway, given.idle_streams)
    return figures


def memory(gateway: Gateway) -> tuple[float, float]:
    """RSS and PSS of a gateway's processes in MiB."""
    return gateway.trees.memory_mib().get("total", (0.0, 0.0))


def load(gateway: Gateway, *, requests: int, streams: bool = False, **how: float) -> dict[str, Any]:
    """Send requests, and count the gateway's CPU time meanwhile. Raises RuntimeError when many of them fail."""
    before = gateway.trees.cpu()
    done = subprocess.run(
        _command(gateway, "hello", streams, requests=requests, **how), capture_output=True, text=True, check=True
    )
    row: dict[str, Any] = json.loads(done.stdout)
    row["cpu_us"] = (gateway.trees.cpu() - before).total_s / max(1, row["requests"]) * 1e6
    if row["errors"] > requests / 20:
        raise RuntimeError(f"{gateway.name}: {row['errors']} of {requests} requests failed: {row['error']}")
    return row


def held(gateway: Gateway, streams: int) -> float:
    """PSS in MiB while so many streams that say nothing are open."""
    command = _command(gateway, "hang", True, idle=streams)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        found = memory(gateway)[1]
        process.stdin.close()
    return found


def _command(gateway: Gateway, text: str, streams: bool, **how: float) -> list[str]:
    said = f"{text}, this is a question of about twenty tokens, as short as most questions that people ask a machine."
    body: dict[str, Any] = {"model": gateway.model, "messages": [{"role": "user", "content": said}], "max_tokens": 64}
    if streams:
        body["stream"] = True
    options = {"port": gateway.port, "path": gateway.path, "headers": dict(gateway.headers), "body": body, **how}
    return ["taskset", "-c", str(LOAD_CORE), sys.executable, str(HERE / "load.py"), json.dumps(options)]


def show(found: list[dict[str, Any]], console: Console) -> None:
    """Print the tables: figures, then ratios against the targets."""
    concurrency = [name[len("cpu_us_") :] for name in found[0] if name.startswith("cpu_us_")]
    base = next((row for row in found if row["gateway"] == "upstream alone"), None)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    table = Table(title=f"gateways on one core ({machine})", title_justify="left")
    columns = ["gateway"]
    columns += [f"CPU us\n{number} at once" for number in concurrency]
    columns += [f"p50/p99 ms\n{number} at once" for number in concurrency]
    columns += ["CPU us\n20-chunk stream", "CPU us\na chunk", "added first token\np50/p99 ms", "RSS/PSS MiB", "failed"]
    for column in columns:
        table.add_column(column, justify="left" if column == "gateway" else "right")
    for row in found:
        cells = [row["gateway"]]
        cells += [f"{row[f'cpu_us_{number}']:,.0f}" for number in concurrency]
        cells += [f"{row[f'p50_ms_{number}']:.1f}/{row[f'p99_ms_{number}']:.1f}" for number in concurrency]
        first = [row["first_p50_ms"], row["first_p99_ms"]]
        if base is not None:
            first = [row["first_p50_ms"] - base["first_p50_ms"], row["first_p99_ms"] - base["first_p99_ms"]]
        cells += [f"{row['stream_cpu_us']:,.0f}", f"{row['chunk_cpu_us']:.1f}", f"{first[0]:.2f}/{first[1]:.2f}"]
        cells += [f"{row['rss_mib']:.0f}/{row['pss_mib']:.0f}", str(row["errors"])]
        table.add_row(*cells)
    console.print(table)
    targets(found, console)
    for row in found:
        if "pss_mib_after" in row:
            console.print(
                f"{row['gateway']}: {row['pss_mib']:.0f} MiB before and {row['pss_mib_after']:.0f} MiB after "
                f"{row['memory_requests']:,} requests"
            )
        if "pss_mib_idle" in row:
            console.print(f"{row['gateway']}: {row['pss_mib_idle']:.0f} MiB with {row['idle_streams']:,} idle streams")


def targets(found: list[dict[str, Any]], console: Console) -> None:
    """Print what the ratios of CPU time are about."""
    cpu = {row["gateway"]: min(value for name, value in row.items() if name.startswith("cpu_us_")) for row in found}
    table = Table(title="CPU time per request, as a ratio", title_justify="left")
    for column in ("ratio", "value", "target"):
        table.add_column(column, justify="left" if column == "ratio" else "right")
    for ours, peer, limit in (
        ("headrace core", SLOW, 1 / 100),
        ("headrace core", "TensorZero", 1.0),
        ("headrace core", "Envoy", 2.5),
        ("headrace full", SLOW, 1 / 50),
    ):
        if ours in cpu and cpu.get(peer):
            ratio = cpu[ours] / cpu[peer]
            colour = "green" if ratio <= limit else "red"
            table.add_row(f"{ours} to {peer}", f"[{colour}]{ratio:.4f}[/]", f"<= {limit:g}")
    if table.row_count:
        console.print(table)


if __name__ == "__main__":
    main()
