"""The cluster's network on this machine: two bridges and a route, and nothing left of them afterwards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from infra.cluster.places import NODE_BRIDGE, NODE_IP, POD_BRIDGE, POD_NETWORK, SERVICE_NETWORK, Places

_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "fs/inotify/max_user_instances": "1024",
}


def up() -> None:
    """Make the node's bridge, the way to the Services, and the kernel settings that pods need.

    The kubelet refuses a loopback address as the node's, and a bridge is the one device that every kernel has.
    """
    if _ip("link", "show", NODE_BRIDGE).returncode != 0:
        _ip("link", "add", NODE_BRIDGE, "type", "bridge", check=True)
        _ip("addr", "add", f"{NODE_IP}/32", "dev", NODE_BRIDGE, check=True)
        _ip("link", "set", NODE_BRIDGE, "up", check=True)
    # so that this machine reaches a Service's address whatever its default route is
    _ip("route", "replace", SERVICE_NETWORK, "dev", NODE_BRIDGE, "src", NODE_IP, check=True)
    for name, value in _SETTINGS.items():
        path = Path("/proc/sys") / name
        if not path.exists() or (name.startswith("fs/") and int(path.read_text()) >= int(value)):
            continue
        if path.read_text().strip() != value:
            path.write_text(value)


def write_cni(folder: Path, places: Places) -> None:
    """How pods are connected: a bridge, addresses from one range, host ports."""
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_NETWORK}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(places.state / "cni"),
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "10-headrace.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "headrace", "plugins": plugins})
    )


def down(places: Places) -> None:
    """Remove what `up`, the kubelet, kube-proxy and the CNI plugins made."""
    subprocess.run([str(places.bin / "kube-proxy"), "--cleanup"], capture_output=True, check=False)
    for tool in ("iptables", "ip6tables"):
        _forget_chains(tool)
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        mount = line.split()[1]
        if mount.startswith((f"{places.state}/", f"{places.run}/")):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    for line in _ip("netns", "list").stdout.splitlines():
        if line.startswith("cni-"):
            _ip("netns", "del", line.split()[0])
    for bridge in (POD_BRIDGE, NODE_BRIDGE):
        _ip("link", "del", bridge)


def _forget_chains(tool: str) -> None:
    saved = subprocess.run([f"{tool}-save"], capture_output=True, text=True, check=False)
    if saved.returncode != 0:
        return
    kept = [
        line for line in saved.stdout.splitlines() if not any(word in line for word in ("KUBE-", "CNI-", POD_BRIDGE))
    ]
    if kept != saved.stdout.splitlines():
        subprocess.run([f"{tool}-restore"], input="\n".join(kept) + "\n", text=True, capture_output=True, check=False)


def _ip(*words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)
