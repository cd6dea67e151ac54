"""Where the cluster's parts are: what is built and cached, what a running cluster writes, and its addresses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

NODE_IP = "172.30.0.1"
"""Of the bridge that stands for the node's network; the API server and the kubelet listen there only."""

POD_NETWORK, SERVICE_NETWORK = "10.244.0.0/24", "10.96.0.0/16"
API_SERVICE_IP, DNS_IP = "10.96.0.1", "10.96.0.10"
NODE_BRIDGE, POD_BRIDGE = "hr-node", "hr-pods"
NODE = "headrace-test"
API_PORT, ETCD_PORT = 6443, 12379


def default_home() -> Path:
    """`CLUSTER_HOME`, or a folder in the user's cache."""
    if given := os.environ.get("CLUSTER_HOME"):
        return Path(given).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace-cluster"


@dataclass(frozen=True)
class Places:
    """The folders of one machine's cluster. Everything in `home` but `state` is a cache."""

    home: Path = field(default_factory=default_home)

    @property
    def bin(self) -> Path:
        """Programs: links to what was built last."""
        return self.home / "bin"

    @property
    def builds(self) -> Path:
        """`<name>/<key>/`: what was built, by what it was made from."""
        return self.home / "builds"

    @property
    def archives(self) -> Path:
        """Images as files, to be imported."""
        return self.home / "images"

    @property
    def store(self) -> Path:
        """containerd's: images that were imported. The next cluster finds them there."""
        return self.home / "containerd"

    @property
    def state(self) -> Path:
        """What a cluster writes; `down --wipe` removes it."""
        return self.home / "state"

    @property
    def run(self) -> Path:
        """Sockets: their paths have to be short."""
        return Path("/run/headrace-cluster")

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def conf(self) -> Path:
        return self.state / "conf"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def kubeconfig(self) -> Path:
        """Of the cluster's administrator."""
        return self.conf / "admin.conf"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    def environment(self) -> dict[str, str]:
        """What a shell needs to use the cluster."""
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{self.bin}:{os.environ.get('PATH', os.defpath)}"}
