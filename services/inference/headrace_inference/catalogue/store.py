"""The cache of model files: `<folder>/<sha256>`, one lock per file, complete files only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace_inference.catalogue.errors import SourceFailed
from headrace_kit.config.catalogue import ModelFile

_BLOCK = 1 << 20
_MAGIC: dict[str, Callable[[bytes], bool]] = {
    ".gguf": lambda head: head[:4] == b"GGUF",
    ".onnx": lambda head: head[:1] == b"\x08",  # field 1 of ModelProto, the IR version
    ".safetensors": lambda head: head[8:9] == b"{",
    ".json": lambda head: head.lstrip()[:1] in (b"{", b"["),
}
ENDINGS = tuple(_MAGIC)
"""Endings of files that are taken: nothing that can run code when it is loaded."""


class Store:
    """Files by content.

    Args:
        folder: made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, file: ModelFile) -> Path:
        """Where the file is, or will be."""
        return self.folder / file.sha256

    def has(self, file: ModelFile) -> bool:
        """Whether it is there, by its size. It was hashed when it came; `verify` hashes again."""
        try:
            return self.path(file).stat().st_size == file.size
        except OSError:
            return False

    @contextmanager
    def lock(self, file: ModelFile) -> Iterator[None]:
        """Hold the file's lock; another process that fetches the same file waits here."""
        with (self.folder / f"{file.sha256}.lock").open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    @contextmanager
    def scratch(self, file: ModelFile) -> Iterator[Path]:
        """An empty folder on the cache's own disk, removed afterwards. Call it with the file's lock held."""
        folder = self.folder / f"{file.sha256}.tmp"
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def wheels(self) -> Path:
        """A folder for a pull's downloads of packages; not made yet. What dead processes left is removed."""
        for left in self.folder.glob("wheels-*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left, ignore_errors=True)
        return self.folder / f"wheels-{os.getpid()}-{secrets.token_hex(4)}"

    def partial(self, file: ModelFile) -> Path:
        """Where a download that can be resumed collects its bytes."""
        return self.folder / f"{file.sha256}.part"

    def adopt(self, file: ModelFile, found: Path, source: str) -> None:
        """Check a fetched file and move it to its place.

        Raises:
            SourceFailed: it is not the file that was wanted; it is deleted.
        """
        try:
            check(file, found, source)
        except SourceFailed:
            found.unlink(missing_ok=True)
            raise
        found.chmod(0o644)
        found.replace(self.path(file))


def check(file: ModelFile, found: Path, source: str) -> None:
    """Compare size, sha256 and format.

    Raises:
        SourceFailed: naming file, source, what was wanted and what came.
    """
    size = found.stat().st_size
    if size != file.size:
        raise SourceFailed(f"{file.name} from {source} has {size} bytes, wanted {file.size}")
    digest = sha256(found)
    if digest != file.sha256:
        raise SourceFailed(f"{file.name} from {source} has the sha256 {digest}, wanted {file.sha256}")
    with found.open("rb") as opened:
        head = opened.read(64)
    if not _MAGIC[Path(file.name).suffix](head):
        raise SourceFailed(f"{file.name} from {source} is not a {Path(file.name).suffix} file")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
