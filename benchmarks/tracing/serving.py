"""The service that is measured, with its PostgreSQL, on free ports in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.gateway.gateways import GATEWAY_CORE, LOAD_CORE, pin
from benchmarks.inference.processes import Trees
from benchmarks.tracing.made import DAY_NS, SPANS, TENANT
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

SERVICE_CORE = GATEWAY_CORE
SENDERS = 4
_SEEN_S = 300.0


@dataclass(frozen=True, slots=True)
class Place:
    """Something that takes spans.

    Attributes:
        name: as tables call it.
        address: OTLP over gRPC.
        service: its own processes.
        database: PostgreSQL's.
        dsn: where its tables lie.
        counted: how many spans are in them, as SQL.
        schema: the tables' schema.
    """

    name: str
    address: str
    service: Trees
    database: Trees
    dsn: str
    counted: str
    schema: str


@contextlib.contextmanager
def platform() -> Iterator[Platform]:
    """PostgreSQL and tracing: tracing alone on the first core, the rest with the load on the second."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        file = Path(name) / "headrace.yaml"
        file.write_text(json.dumps({"tenants": {TENANT: {}}}), "utf-8")
        started = Platform(Settings(data_dir=Path(name) / "data", port_base=free_port_base(), config=file))
        started.start(["postgres", "schema", "tracing"], bound=True)
        try:
            run = started.status()
            assert run is not None
            for unit, state in run.units.items():
                if state.pid:
                    pin(state.pid, SERVICE_CORE if unit == "tracing" else LOAD_CORE)
            yield started
        finally:
            started.stop()


def superuser(running: Platform, database: str = "") -> str:
    """PostgreSQL's address for its superuser, who may look at sizes of everything."""
    dsn = (running.layout.secrets / "postgres-superuser-dsn").read_text().strip()
    return psycopg.conninfo.make_conninfo(dsn, dbname=database) if database else dsn


def ours(running: Platform) -> Place:
    """Tracing."""
    run = running.status()
    assert run is not None
    service, database = run.units["tracing"].pid, run.units["postgres"].pid
    assert service is not None and database is not None
    return Place(
        "headrace",
        f"127.0.0.1:{running.port('tracing-otlp')}",
        Trees((service,)),
        Trees((database,)),
        # the services' database is the one of their own address
        psycopg.conninfo.make_conninfo(
            superuser(running),
            dbname=psycopg.conninfo.conninfo_to_dict((running.layout.secrets / "postgres-dsn").read_text().strip())[
                "dbname"
            ],
        ),
        "SELECT coalesce(sum(spans), 0) FROM tracing.traces",
        "tracing",
    )


def ingest(place: Place, spans: int, seed: int, *, records: bool = False) -> dict[str, Any]:
    """Send so many spans, as OTLP or as records of requests, and say what that took until all were in the database."""
    exports = max(1, spans // SPANS)
    options = {
        "address": place.address,
        "records": records,
        "exports": exports,
        "senders": SENDERS,
        # of the last day, so that none is too old to be kept
        "start_ns": time.time_ns() - DAY_NS,
        "over_ns": DAY_NS - 10**10,
        "seed": seed,
    }
    with psycopg.connect(place.dsn, autocommit=True) as database:
        had, bytes_had = _count(database, place), size_bytes(database, place)
        service, postgres, began = place.service.cpu(), place.database.cpu(), time.perf_counter()
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.tracing.load", json.dumps(options)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{place.name} did not take the spans:\n{done.stderr[-2000:]}")
        wanted, deadline = had + exports * SPANS, time.monotonic() + _SEEN_S
        while (stored := _count(database, place)) < wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        took_s = time.perf_counter() - began
        sent = exports * SPANS
        return {
            "place": f"{place.name}, records" if records else place.name,
            "spans": sent,
            "missing": wanted - stored,
            "spans_s": sent / took_s,
            "cpu_us": (place.service.cpu() - service).total_s / sent * 1e6,
            "database_cpu_us": (place.database.cpu() - postgres).total_s / sent * 1e6,
            "bytes": (size_bytes(database, place) - bytes_had) / sent,
            "peak_mib": peak_mib(place.service),
            **json.loads(done.stdout),
        }


def _count(database: psycopg.Connection[Any], place: Place) -> int:
    row = database.execute(place.counted).fetchone()
    assert row is not None
    return int(row[0])


def size_bytes(database: psycopg.Connection[Any], place: Place) -> int:
    """Bytes on disk of a schema's tables, with their indexes and what is stored apart."""
    row = database.execute(
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = %s::regnamespace",
        (place.schema,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def peak_mib(trees: Trees) -> float:
    """Most memory that the processes ever had resident, together."""
    total = 0.0
    for process in trees._processes():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) / 1024
    return total
