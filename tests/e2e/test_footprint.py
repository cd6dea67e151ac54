"""What a platform listens on while it runs, and what it leaves behind when it stops."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import psutil


def processes(data_dir: Path) -> list[psutil.Process]:
    """Living processes whose environment or arguments name the platform's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and (
                process.environ().get("HEADRACE_DATA_DIR") == str(data_dir)
                or any(str(data_dir) in argument for argument in process.cmdline())
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_everything_listens_on_loopback_only(world):
    listening = []
    for process in processes(world.platform.layout.data_dir):
        try:
            listening += [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
    ports = {address.port for address in listening}
    assert world.platform.port("gateway-http") in ports, "the check sees the platform's sockets"
    assert not [address for address in listening if not is_loopback(address.ip)]


def is_loopback(text: str) -> bool:
    """Whether an address is loopback, an IPv4 one inside IPv6 too (gRPC binds so)."""
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_down_leaves_nothing(own_world):
    platform = own_world.platform
    before = processes(platform.layout.data_dir)
    assert len(before) > 8
    assert [name for name in shared_memory() if platform.layout.identity in name], "Triton's regions carry our name"
    platform.stop()
    assert processes(platform.layout.data_dir) == []
    pids = {process.pid for process in before}
    assert not [c for c in psutil.net_connections("inet") if c.pid in pids]
    assert not [name for name in shared_memory() if platform.layout.identity in name]


def shared_memory() -> list[str]:
    return [path.name for path in Path("/dev/shm").iterdir()]
