"""What the cluster is made of, each part built once for what it is made from.

A build's key is a hash over its version, its sources here and the Go that compiles it; its results lie in
`<home>/builds/<name>/<key>`, and links in `<home>/bin` name the newest. A build that was interrupted left nothing
under its key and starts again; Go's own caches make that short.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.cluster import recipes
from infra.cluster.places import Places
from infra.cluster.progress import step

HERE = Path(__file__).parent
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
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place.parent):
            if not place.exists():
                with step(f"building {name} {build.version} (about {build.minutes:g} min with empty caches)"):
                    _make(build, place)
            places.bin.mkdir(parents=True, exist_ok=True)
            for program in build.programs:
                _link(places.bin / program, place / program)
            _link(places.builds / name / "current", place)


def _make(build: Build, place: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
    try:
        build.make(fresh)
        fresh.chmod(0o755)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: of two that want the same part, one builds it and the other waits."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


BUILDS = {
    build.name: build
    for build in (
        Build(
            "kubernetes",
            recipes.KUBERNETES,
            recipes.kubernetes,
            ("k8s", *recipes.PROGRAMS),
            ("go/kubernetes",),
            minutes=9,
        ),
        Build("coredns", "1.15.0", recipes.go("go/coredns", "coredns"), ("coredns",), ("go/coredns",), minutes=3),
        Build("pause", "1", recipes.go("go/pause", "pause"), ("pause",), ("go/pause",)),
        Build("helm", recipes.HELM_CARRIER, recipes.helm, ("helm",), go=False),
        Build("kuberay", recipes.KUBERAY, recipes.kuberay, ("kuberay-operator",), minutes=3),
        Build("envoy-gateway", recipes.ENVOY_GATEWAY, recipes.envoy_gateway, ("envoy-gateway",), minutes=7),
        Build("envoy", recipes.ENVOY, recipes.envoy, ("envoy",), go=False),
        Build("metrics-server", recipes.METRICS_SERVER, recipes.metrics_server, (), minutes=2),
        Build("keda", recipes.KEDA, recipes.keda, (), minutes=6),
        Build("prometheus", recipes.PROMETHEUS, recipes.prometheus, (), minutes=4),
    )
}
BASICS = ("kubernetes", "coredns", "pause", "helm")
"""Without these there is no cluster."""


def missing(places: Places, *names: str) -> list[str]:
    """Which of these would be built."""
    go_version = _go_version()
    return [name for name in names if not (places.builds / name / BUILDS[name].key(go_version)).exists()]
