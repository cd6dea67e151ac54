"""Whether the platform's ports are free, and who holds them when not."""

import contextlib
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from headrace_kit.config.ports import BLOCK, OFFSETS, SERVICES
from headrace_kit.config.services import Services

FIRST, LAST = 20_000, 32_000
"""Where free blocks are looked for: below the ports that kernels hand out on their own."""


class PortInUse(RuntimeError):
    """Something else listens where the platform would."""


def table(base: int, services: Services | None = None) -> dict[str, int]:
    """The number of every port in `headrace_kit.config.ports.OFFSETS`, by name.

    Args:
        base: first port of the platform's block.
        services: the config's section; a port that it names wins over the block's.
    """
    ports = {name: base + offset for name, offset in OFFSETS.items()}
    if services is not None:
        for name in SERVICES:
            listen = getattr(services, name).listen
            named = {"http": listen.http_port, "grpc": listen.grpc_port, "ops": listen.ops_port}
            ports.update({f"{name}-{kind}": number for kind, number in named.items() if number is not None})
        if services.tracing.otlp_port is not None:
            ports["tracing-otlp"] = services.tracing.otlp_port
    return ports


def check(ports: Mapping[str, int], base: int) -> None:
    """Make sure that every port can be listened on.

    Raises:
        PortInUse: the message names each taken port, who holds it where that can be known, and the way out.
    """
    taken = {name: number for name, number in ports.items() if _taken(number)}
    if not taken:
        return
    by_holder: dict[str, list[str]] = {}
    for name, number in taken.items():
        by_holder.setdefault(_holder(number), []).append(f"{number} ({name})")
    lines = [
        f"port{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} in use by {holder}"
        for holder, numbers in by_holder.items()
    ]
    lines.append(f"Stop what holds them, or move this platform: HEADRACE_PORT_BASE={base + BLOCK} make up")
    raise PortInUse("\n".join(lines))


def free_port_base() -> int:
    """The first port of a block of 100 where nobody listens.

    Nothing is reserved: start soon. The block is picked at random so that tests side by side rarely pick the same.

    Raises:
        PortInUse: there is no such block.
    """
    blocks = list(range(FIRST, LAST, BLOCK))
    random.shuffle(blocks)
    for base in blocks:
        if not any(map(_taken, range(base, base + BLOCK))):
            return base
    raise PortInUse(f"no block of {BLOCK} free ports between {FIRST} and {LAST}")


def listening(pids: Iterable[int]) -> dict[tuple[str, int], int]:
    """Where processes listen: (address, port) to pid. Processes that are gone or not ours to see are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for connection in psutil.Process(pid).net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = pid
    return found


def _taken(number: int) -> bool:
    with socket.socket() as probe:
        # as servers do: the rest of a closed connection is no reason to refuse
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
            probe.listen(1)
        except OSError:
            return True
    return False


def _holder(number: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", 0) == number
            if listens and connection.pid:
                platform = _headrace_folder(connection.pid)
                return platform or f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "a process that this user may not see"


def _headrace_folder(pid: int) -> str:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"HEADRACE_DATA_DIR="):
                return f"the headrace platform in {entry.split(b'=', 1)[1].decode(errors='replace')}"
    return ""
