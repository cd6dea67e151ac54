"""Arize Phoenix as it comes, in an environment of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.inference.processes import Trees
from benchmarks.tracing.serving import SERVICE_CORE, Place, superuser
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-phoenix" / "bin" / "python"
_MAIN = Path(__file__).with_name("phoenix_main.py")
_READY_S = 600.0


@dataclass(frozen=True, slots=True)
class Phoenix:
    """One that runs. `url` has its web interface and OTLP over HTTP, `otlp` OTLP over gRPC."""

    pid: int
    url: str
    otlp: str


@contextlib.contextmanager
def phoenix(folder: Path, database: str = "", core: int | None = None) -> Iterator[Phoenix]:
    """Phoenix on loopback; it is stopped at the end.

    Args:
        folder: for its files, and its SQLite database where no other is given.
        database: URL of a PostgreSQL database.
        core: the only core it may use.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    base = free_port_base()
    url, otlp = f"http://127.0.0.1:{base}", f"127.0.0.1:{base + 1}"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(base),
        "PHOENIX_GRPC_PORT": str(base + 1),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        **({"PHOENIX_SQL_DATABASE_URL": database} if database else {}),
    }
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    log = folder / "phoenix.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*pinned, str(PYTHON), str(_MAIN)], stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    try:
        deadline = time.monotonic() + _READY_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Phoenix did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.3)
        yield Phoenix(process.pid, url, otlp)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def peer(running: Platform, postgres: Trees, folder: Path) -> Iterator[Place]:
    """Phoenix on a database of its own in the platform's PostgreSQL, on the core that ours had to itself."""
    with psycopg.connect(superuser(running), autocommit=True) as database:
        database.execute("CREATE DATABASE phoenix")
    dsn = psycopg.conninfo.conninfo_to_dict(superuser(running))
    where = f"postgresql://{dsn['user']}:{dsn['password']}@127.0.0.1:{dsn['port']}/phoenix"
    with phoenix(folder, where, SERVICE_CORE) as made:
        yield Place(
            "Arize Phoenix",
            made.otlp,
            Trees((made.pid,)),
            postgres,
            superuser(running, "phoenix"),
            "SELECT count(*) FROM spans",
            "public",
        )
