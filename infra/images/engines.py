"""What builds images on this machine: docker, podman or buildah, all three by the same few commands."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENGINES = ("docker", "podman", "buildah")
_PIP = ("index-url", "extra-index-url", "trusted-host", "cert", "proxy", "timeout")
_SHARED = ("ssl/certs/ca-certificates.crt", "apt/sources.list.d/debian.sources", "apt/apt.conf.d/99*")


class NoEngine(RuntimeError):
    """Nothing here builds images; the message says what was looked for."""


@dataclass(frozen=True)
class Engine:
    """A program that builds and holds images."""

    name: str

    def build(self, options: Sequence[str], context: Path) -> None:
        """Build; its output goes to ours, but with `--quiet`, which leaves the image's id alone of it.

        Raises:
            subprocess.CalledProcessError: the build failed.
        """
        out = subprocess.DEVNULL if "--quiet" in options else None
        if self.name != "buildah":
            environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
            subprocess.run([self.name, "build", *options, str(context)], check=True, env=environment, stdout=out)
            return
        with _hosts_settings() as mounts:
            command = ["buildah", "bud", "--layers", "--network", "host", "--format", "docker", *mounts, *options]
            subprocess.run([*command, str(context)], check=True, env=self._environment(), stdout=out)

    def has(self, reference: str) -> bool:
        """Whether an image of that name is here."""
        return self._run("inspect", *(("--type", "image") if self.name != "docker" else ()), reference) is not None

    def size_mb(self, reference: str) -> float:
        """Bytes of an image's layers, uncompressed, in millions."""
        if self.name == "buildah":
            listed = json.loads(self._run("images", "--json", reference) or "[]")
            return max((_bytes(one["size"]) for one in listed), default=0) / 1e6
        return int((self._run("image", "inspect", "--format", "{{.Size}}", reference) or "0").strip()) / 1e6

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into an archive that `ctr images import` reads; replaced in one step."""
        fresh = archive.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        if self.name == "buildah":
            command = ["buildah", "push", "--quiet", reference, f"docker-archive:{fresh}:{reference}"]
        else:
            command = [self.name, "save", "--output", str(fresh), reference]
        subprocess.run(command, check=True, env=self._environment(), stdout=subprocess.DEVNULL)
        fresh.replace(archive)

    def identity(self, reference: str) -> str:
        """What changes when the image does; empty where there is none."""
        if self.name == "buildah":
            return (self._run("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference) or "").strip()
        return (self._run("image", "inspect", "--format", "{{.Id}}", reference) or "").strip()

    def _run(self, *words: str) -> str | None:
        done = subprocess.run([self.name, *words], capture_output=True, text=True, check=False, env=self._environment())
        return done.stdout if done.returncode == 0 else None

    def _environment(self) -> Mapping[str, str]:
        if self.name != "buildah":
            return os.environ
        # chroot needs neither namespaces nor a registry's helpers, so it works where containers do not
        return {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", **os.environ}


def find(wanted: str | None = None) -> Engine:
    """The engine to use: the wanted one, or the first of docker, podman and buildah that answers.

    Raises:
        NoEngine: there is none.
    """
    for name in (wanted,) if wanted else ENGINES:
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return Engine(name)
    looked = wanted or ", ".join(ENGINES)
    raise NoEngine(f"nothing here builds images: {looked} is not there, or does not answer")


@contextmanager
def _hosts_settings() -> Iterator[list[str]]:
    """Read-only mounts that let RUN steps see this machine's CA bundle, package sources and pip settings.

    Nothing of them stays in the image but empty mount points.
    """
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as written:
        written.write(pip_settings(subprocess.run(["pip", "config", "list"], capture_output=True, text=True).stdout))
        written.flush()
        Path(written.name).chmod(0o644)
        mounts = [f"--volume={path}:{path}:ro" for pattern in _SHARED for path in sorted(Path("/etc").glob(pattern))]
        yield [*mounts, f"--volume={written.name}:/etc/pip.conf:ro"]


def pip_settings(listed: str) -> str:
    """A pip.conf of the settings that reach an index, from what `pip config list` prints: the last of a name wins."""
    kept = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        key = name.rsplit(".", 1)[-1]
        if key in _PIP:
            kept[key] = str(ast.literal_eval(value)).replace("\n", "\n  ")
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in kept.items())]) + "\n"


def _bytes(text: str | int) -> float:
    """Bytes of `120 MB` and the like."""
    if isinstance(text, int):
        return text
    number, _, unit = text.partition(" ")
    return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.strip().upper()]
