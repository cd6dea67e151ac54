"""A single-node Kubernetes on this machine: up, down, and whether it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from infra.cluster import builds, certificates, components, images, network, processes, volumes
from infra.cluster.places import DNS_IP, NODE, Places
from infra.cluster.progress import say, step, wait

MANIFESTS = Path(__file__).parent / "manifests"
DEBIAN = {
    "runc": "runc",
    "containerd": "containerd",
    "ctr": "containerd",
    "iptables-save": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "socat": "socat",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
}
"""Programs that Debian's packages bring, by the package."""


class CannotRun(RuntimeError):
    """A cluster cannot be had here; the message says what is missing and what to do."""


def check_machine() -> None:
    """See that this machine has what a cluster of packages needs.

    Raises:
        CannotRun: something is missing; the message has the command that installs it.
    """
    if packages := packages_missing():
        raise CannotRun(f"install first: apt-get install --no-install-recommends {' '.join(packages)}")


def packages_missing() -> list[str]:
    """Packages of Debian that have to be installed first.

    Raises:
        CannotRun: something else is missing.
    """
    if os.geteuid() != 0:
        raise CannotRun("a cluster of packages needs root, for its network and containers; or set KUBECONFIG")
    if shutil.which("go") is None:
        raise CannotRun("Go is missing: it compiles Kubernetes")
    isolated = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "true"]
    if (tried := subprocess.run(isolated, capture_output=True, text=True, check=False)).returncode != 0:
        said = tried.stderr.strip()
        raise CannotRun(
            f"processes cannot have namespaces of their own here ({said}): set KUBECONFIG to another cluster"
        )
    packages = {package for program, package in DEBIAN.items() if shutil.which(program) is None}
    if not Path(components.CNI_PROGRAMS, "bridge").exists():
        packages.add("containernetworking-plugins")
    return sorted(packages)


def prepare(places: Places) -> None:
    """Build what a cluster consists of, unless it is there: at first some ten minutes, then nothing."""
    check_machine()
    builds.ensure(places, *builds.BASICS)
    used = images.engine()
    images.ensure_python(used)
    images.of_programs(places, used)


def up(places: Places) -> None:
    """Start the cluster and return when its node and DNS are ready. What runs already goes on."""
    prepare(places)
    new = not (places.state / "etcd").exists()
    for folder in components.state_folders(places):
        folder.mkdir(parents=True, exist_ok=True)
    certificates.make(places)
    network.up()
    components.write_configuration(places)
    commands = components.commands(places)

    def start(*names: str) -> None:
        for name in names:
            processes.start(places.pids, places.logs, name, commands[name])

    start("containerd", "etcd", "kube-apiserver")
    wait("containerd", lambda: _ctr(places, "version").returncode == 0, 30)
    if new:
        _end_containers(places)  # of a cluster that ended without `down`
    images.load(places, *(images.archive(places, f"localhost/{name}:1") for name in ("pause", "coredns")))
    wait("the API server", lambda: kubectl(places, "get", "--raw", "/readyz").returncode == 0, 120, 0.2)
    say("the API server is ready")
    start("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    manifest = (MANIFESTS / "coredns.yaml").read_text().replace("__DNS_IP__", DNS_IP)
    _must(kubectl(places, "apply", "-f", "-", stdin=manifest))
    volumes.make_class(places)
    wait("the node", lambda: kubectl(places, "get", "node", NODE).returncode == 0, 60, 0.2)
    _must(kubectl(places, "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s"))
    say("the node is ready")
    _must(kubectl(places, "-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=120s"))
    say("DNS is ready")
    ready = lambda: kubectl(places, "-n", "default", "get", "serviceaccount", "default").returncode == 0  # noqa: E731
    wait("the default service account", ready, 30, 0.2)


def running(places: Places) -> bool:
    """Whether the API server answers."""
    return places.kubeconfig.exists() and kubectl(places, "get", "--raw", "/readyz").returncode == 0


def down(places: Places, *, wipe: bool = False) -> None:
    """Stop everything that `up` started, and what grew below it. Images stay; the state too, unless it is wiped."""
    with step("stopping the cluster"):
        processes.stop(places.pids, (volumes.NAME, *reversed(components.ORDER[1:])), grace_s=2)
        _end_containers(places)
        processes.stop(places.pids, ("containerd",), grace_s=5)
        network.down(places)
        shutil.rmtree(places.state / "cni", ignore_errors=True)
        if wipe:
            shutil.rmtree(places.state, ignore_errors=True)
            shutil.rmtree(places.run, ignore_errors=True)


def _end_containers(places: Places) -> None:
    """Kill and forget all containers."""

    def tasks() -> list[str]:
        return _ctr(places, "tasks", "ls", "-q").stdout.split()

    deadline = time.monotonic() + 20
    for task in tasks():
        _ctr(places, "tasks", "kill", "-s", "9", task)
    while (left := tasks()) and time.monotonic() < deadline:
        for task in left:
            _ctr(places, "tasks", "delete", "-f", task)
        time.sleep(0.2)
    for container in _ctr(places, "containers", "ls", "-q").stdout.split():
        _ctr(places, "containers", "delete", container)


def kubectl(places: Places, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl as the cluster's administrator."""
    environment = {**os.environ, "KUBECONFIG": str(places.kubeconfig)}
    command = [str(places.bin / "kubectl"), *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)


def _ctr(places: Places, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "-a", str(places.containerd_socket), "-n", "k8s.io", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(done.args[:4])}: {done.stderr.strip() or done.stdout.strip()}")
