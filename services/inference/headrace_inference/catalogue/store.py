"""The cache of model files, shared by all processes of a machine.

<folder>/<sha256>               a complete file; its modification time is when it was last used
<folder>/<sha256>.lock          held while the file is fetched
<folder>/<sha256>.use           held, shared, by those who use the file: it is not evicted
<folder>/<sha256>.part          bytes of a download that was not finished, see `partial`
<folder>/<sha256>.part.map      which of them are there
<folder>/<sha256>.tmp/          what a fetch needs meanwhile
<folder>/converted/<sha256>-*   made of a file when an engine loaded it; goes when that file goes
<folder>/entries/<entry>-<id>/  an entry's files under their own names, see `views`
<folder>/wheels-<pid>-<id>/     packages of a pull
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from headrace_inference.catalogue.errors import SourceFailed
from headrace_inference.catalogue.formats import inspect
from headrace_inference.catalogue.partial import Partial
from headrace_kit.config.catalogue import ModelFile

_BLOCK = 1 << 20
_COMPLETE = re.compile(r"[0-9a-f]{64}")


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

    def touch(self, file: ModelFile) -> None:
        """Note that the file is used now. A cache that cannot be written to keeps no such notes."""
        with contextlib.suppress(OSError):
            os.utime(self.path(file))

    def complete(self) -> Iterator[Path]:
        """All complete files, whoever's they are."""
        return (path for path in self.folder.iterdir() if _COMPLETE.fullmatch(path.name))

    def converted(self, sha256: str = "*") -> list[Path]:
        """What engines have made of a file, or of all, and what they had not finished."""
        return sorted((self.folder / "converted").glob(f"{sha256}-*"))

    @contextmanager
    def lock(self, file: ModelFile) -> Iterator[None]:
        """Hold the file's lock; another process that fetches the same file waits here."""
        with (self.folder / f"{file.sha256}.lock").open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def use(self, sha256: str) -> BinaryIO:
        """Keep a file from being evicted until what is returned is closed, or the process ends.

        Raises:
            OSError: the cache cannot be written to.
        """
        held = (self.folder / f"{sha256}.use").open("wb")
        fcntl.flock(held, fcntl.LOCK_SH)
        return held

    @contextmanager
    def unused(self, sha256: str) -> Iterator[bool]:
        """Whether nobody uses or fetches a file, and nobody starts to meanwhile."""
        with contextlib.ExitStack() as held:
            try:
                for ending in ("use", "lock"):
                    opened = held.enter_context((self.folder / f"{sha256}.{ending}").open("wb"))
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

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
        """A folder for a pull's downloads of packages; not made yet."""
        return self.folder / f"wheels-{os.getpid()}-{secrets.token_hex(4)}"

    def dead_wheels(self) -> list[Path]:
        """What processes that are gone left of packages."""
        return [left for left in self.folder.glob("wheels-*") if not Path("/proc", left.name.split("-")[1]).exists()]

    def partial(self, file: ModelFile) -> Partial:
        """What is there of a download that can be resumed. Call it with the file's lock held."""
        return Partial(self.folder / f"{file.sha256}.part", file.size)

    def adopt(self, file: ModelFile, found: Path, source: str, *, unsafe: bool, digest: str | None = None) -> None:
        """Check a fetched file and move it to its place.

        Args:
            file: what was wanted.
            found: what came.
            source: where from, for the message.
            unsafe: pickles are taken.
            digest: its sha256, where that is known already.

        Raises:
            SourceFailed: it is not the file that was wanted; it is deleted.
        """
        try:
            check(file, found, source, unsafe=unsafe, digest=digest)
        except SourceFailed:
            found.unlink(missing_ok=True)
            raise
        found.chmod(0o644)
        now = time.time()
        os.utime(found, (now, now))  # a copy may have brought its source's
        found.replace(self.path(file))


def check(file: ModelFile, found: Path, source: str, *, unsafe: bool = False, digest: str | None = None) -> None:
    """Compare size, sha256 and what is inside; for the arguments see `Store.adopt`.

    Raises:
        SourceFailed: naming file, source, what was wanted and what came.
    """
    size = found.stat().st_size
    if size != file.size:
        raise SourceFailed(f"{file.name} from {source} has {size} bytes, wanted {file.size}")
    digest = digest or sha256(found)
    if digest != file.sha256:
        raise SourceFailed(f"{file.name} from {source} has the sha256 {digest}, wanted {file.sha256}")
    try:
        inspect(found, file.name, unsafe=unsafe)
    except SourceFailed as failure:
        raise SourceFailed(f"{source}: {failure}") from failure


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
