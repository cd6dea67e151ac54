"""Where the tests' cluster comes from: KUBECONFIG, kind, or packages on this machine; and how images get there."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import pytest

from infra.cluster import cluster as machine
from infra.cluster import images as archives
from infra.cluster import processes
from infra.cluster.builds import BASICS, missing
from infra.cluster.places import Places
from infra.cluster.progress import say, step
from infra.images import plan
from infra.images.engines import Engine, find

REGISTRY, TAG, CHANGED = "localhost/headrace", "test", "test-changed"
KIND = "headrace-test"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace"
ROOT = Path(__file__).parents[2]


def choose(places: Places) -> Source:
    """The cluster to test on: KUBECONFIG's when that is set, else kind where a container engine answers, else ours."""
    if given := os.environ.get("KUBECONFIG"):
        return Given(places, given)
    if shutil.which("kind") and any(_answers(name) for name in ("docker", "podman")):
        return Kind(places)
    return Packages(places)


def _answers(engine: str) -> bool:
    return bool(shutil.which(engine)) and subprocess.run([engine, "info"], capture_output=True).returncode == 0


@dataclass
class Source:
    """A cluster."""

    places: Places
    loaded: set[str] = field(default_factory=set)
    _one_at_a_time: Lock = field(default_factory=Lock)

    def environment(self) -> Mapping[str, str]:
        """What kubectl and helm need to reach it."""
        raise NotImplementedError

    def start(self) -> Sequence[str]:
        """Have it run; returns lines that say how long that took."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what `start` began."""

    def load(self, *references: str) -> None:
        """Bring images of this machine into it."""
        raise NotImplementedError

    def addon(self, name: str) -> bool:
        """Install one of `infra.cluster.addons`; False where this cluster's owner has to."""
        return False

    def ahead(self, addons: Sequence[str], images: Sequence[str] = (), tag: str = TAG) -> None:
        """Begin to install add-ons and to bring in images for tests that come later, which then find or await them."""

    @contextmanager
    def api_server_away(self, seconds: float) -> Iterator[None]:
        """The API server does not answer while the block runs, and for so many seconds at least."""
        pytest.skip("the API server of this cluster is not ours to stop")
        yield

    def images(self, *names: str, tag: str = TAG) -> None:
        """Have images of headrace by name: built when what they are made from has changed, then brought in."""
        with self._one_at_a_time:
            absent = [name for name in names if f"{REGISTRY}/{name}:{tag}" not in self.loaded]
            if not absent:
                return
            used = find(os.environ.get("HEADRACE_IMAGE_ENGINE"))
            archives.ensure_python(used)
            build_all(self.places, used, *absent, tag=tag)
            references = [f"{REGISTRY}/{name}:{tag}" for name in absent]
            self.load(*references)
            self.loaded.update(references)

    def images_of(self, tree: Path, tag: str, *names: str) -> None:
        """Have images of another checkout of headrace, built by its own recipes, then brought in."""
        used = find(os.environ.get("HEADRACE_IMAGE_ENGINE"))
        archives.ensure_python(used)
        for name in names:
            reference = f"{REGISTRY}/{name}:{tag}"
            if not used.has(reference):
                _build(name, tree, tag)
            self.load(reference)

    def lookalikes(self) -> None:
        """Bring in what stands for public images."""
        archives.lookalikes(self.places, find(os.environ.get("HEADRACE_IMAGE_ENGINE")), REGISTRY)
        self.load(*(f"{REGISTRY}/{name}:{tag}" for name, tag in archives.LOOKALIKES.items()))


def build_all(places: Places, used: Engine, *names: str, tag: str = TAG) -> None:
    """Build images of headrace, in this order, two at a time: an installer uses one core."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(built, places, used, name, tag) for name in names]:
            done.result()


def built(places: Places, used: Engine, name: str, tag: str = TAG) -> None:
    """Build an image of headrace, unless it is there and what it is made from is as it was then."""
    if is_built(places, used, name, tag):
        return
    digest = inputs(name)
    if tag == TAG:
        _build(name)
    else:
        _change(used, f"{REGISTRY}/{name}:{TAG}", f"{REGISTRY}/{name}:{tag}")
    stamp = _stamp(places, name, tag)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest)


def is_built(places: Places, used: Engine, name: str, tag: str = TAG) -> bool:
    """Whether an image of headrace is there, made from what there is now."""
    stamp = _stamp(places, name, tag)
    return stamp.exists() and stamp.read_text() == inputs(name) and used.has(f"{REGISTRY}/{name}:{tag}")


def _stamp(places: Places, name: str, tag: str) -> Path:
    return places.home / "built" / f"{name}-{tag}"


def inputs(name: str) -> str:
    """A digest of what an image is made from: our packages, its lock, the recipe."""
    image = plan.IMAGES[name]
    folders = () if image.target == "triton" else ("libs", "services")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if _counts(path)]
    files += [path for path in (ROOT / "infra" / "images").iterdir() if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted([*files, ROOT / image.lock]):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _counts(path: Path) -> bool:
    return path.is_file() and not {"tests", "__pycache__", "node_modules"} & set(path.parts) and path.suffix != ".pyc"


def _build(name: str, tree: Path = ROOT, tag: str = TAG) -> None:
    command = [sys.executable, "-m", "infra.images", "--registry", REGISTRY, "--tag", tag, name]
    log = Places().home / f"image-{name}.log"
    with log.open("w") as out, step(f"building the image {name}:{tag}"):
        done = subprocess.run(command, cwd=tree, stdout=out, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text().splitlines()
    if done.returncode != 0:
        raise RuntimeError(f"the image {name} was not built; the end of {log}:\n" + "\n".join(lines[-25:]))
    say(next((line for line in reversed(lines) if line.startswith(REGISTRY)), ""))


def _change(used: Engine, reference: str, changed: str) -> None:
    """An image that is another one: the same programs with another layer on top."""
    recipe = f"FROM {reference}\nENV HEADRACE_CHANGED=1\n"
    folder = Places().home / "changed"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{reference.rsplit('/', 1)[1].replace(':', '-')}.Containerfile"
    file.write_text(recipe)
    pulls = ["--pull-never"] if used.name == "buildah" else []
    used.build([*pulls, "--quiet", "--tag", changed, "--file", str(file)], folder)


@dataclass
class Packages(Source):
    """Kubernetes from packages, on this machine."""

    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _coming: dict[str, Future[None]] = field(default_factory=dict)

    def environment(self) -> Mapping[str, str]:
        return self.places.environment()

    def start(self) -> Sequence[str]:
        built = missing(self.places, *BASICS)
        begun = time.monotonic()
        machine.prepare(self.places)
        prepared = time.monotonic()
        machine.up(self.places)
        lines = [f"cluster ready after {time.monotonic() - prepared:.1f} s"]
        return [f"{', '.join(built)} built in {prepared - begun:.0f} s", *lines] if built else lines

    def stop(self) -> None:
        self._pool.shutdown()
        machine.down(self.places, wipe=True)

    @contextmanager
    def api_server_away(self, seconds: float) -> Iterator[None]:
        pid = processes.running(self.places.pids, "kube-apiserver")
        assert pid is not None
        begun = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
            time.sleep(max(0.0, begun + seconds - time.monotonic()))
        finally:
            os.kill(pid, signal.SIGCONT)

    def load(self, *references: str) -> None:
        used = find(os.environ.get("HEADRACE_IMAGE_ENGINE"))
        bring = lambda reference: archives.load(self.places, archives.save(self.places, used, reference))  # noqa: E731
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(bring, references))

    def addon(self, name: str) -> bool:
        self._begin(name).result()
        return True

    def ahead(self, addons: Sequence[str], images: Sequence[str] = (), tag: str = TAG) -> None:
        for name in addons:
            self._begin(name)
        if images:
            self._pool.submit(self.images, *images, tag=tag)

    def _begin(self, name: str) -> Future[None]:
        from infra.cluster import addons

        if name not in self._coming:
            self._coming[name] = self._pool.submit(addons.install, self.places, name)
        return self._coming[name]


class Kind(Source):
    """kind, in the container engine of this machine."""

    def environment(self) -> Mapping[str, str]:
        return {"KUBECONFIG": str(self.places.home / "kind.conf")}

    def start(self) -> Sequence[str]:
        self.places.home.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=True).stdout.split()
        if KIND not in listed:
            CACHE.mkdir(parents=True, exist_ok=True)
            config = (
                "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n"
                f"  extraMounts: [{{hostPath: {CACHE}, containerPath: {CACHE}}}]\n"
            )
            command = ["kind", "create", "cluster", "--name", KIND, "--wait", "120s", "--config", "-"]
            subprocess.run(command, input=config, text=True, check=True, env={**os.environ, **self.environment()})
        return [f"kind ready after {time.monotonic() - begun:.1f} s"]

    def stop(self) -> None:
        subprocess.run(
            ["kind", "delete", "cluster", "--name", KIND], check=True, env={**os.environ, **self.environment()}
        )

    def load(self, *references: str) -> None:
        subprocess.run(["kind", "load", "docker-image", "--name", KIND, *references], check=True)


class Given(Source):
    """Somebody's cluster, by KUBECONFIG. Images have to reach it through HEADRACE_CLUSTER_LOAD, a command."""

    def __init__(self, places: Places, kubeconfig: str) -> None:
        super().__init__(places)
        self._kubeconfig = kubeconfig

    def environment(self) -> Mapping[str, str]:
        return {"KUBECONFIG": self._kubeconfig}

    def start(self) -> Sequence[str]:
        subprocess.run(
            ["kubectl", "get", "--raw", "/readyz"],
            check=True,
            capture_output=True,
            env={**os.environ, **self.environment()},
        )
        return ["the cluster of KUBECONFIG answers"]

    def load(self, *references: str) -> None:
        command = os.environ.get("HEADRACE_CLUSTER_LOAD")
        if not command:
            raise RuntimeError(
                "set HEADRACE_CLUSTER_LOAD to a command that brings images (its arguments) to this cluster"
            )
        subprocess.run([*command.split(), *references], check=True)
