"""A folder as a source."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from headrace_retrieval.domain.sources import Entry, FileContent, SourceError, Unreadable

_STRETCH = 256


class FolderSource:
    """`Source` on a folder. Hidden files and symbolic links are left out: a link could lead anywhere.

    Args:
        root: the folder.
        include: patterns of paths within it.
        max_bytes: the largest file that is read.
    """

    def __init__(self, root: Path, include: Sequence[str], max_bytes: int) -> None:
        self._root = root
        self._include = include
        self._max_bytes = max_bytes

    async def entries(self) -> AsyncIterator[Entry]:
        """See the port."""
        found = self._walk()
        while part := await asyncio.to_thread(lambda: list(islice(found, _STRETCH))):
            for path, version in part:
                yield Entry(path.relative_to(self._root).as_posix(), version, partial(self._read, path))

    def _walk(self) -> Iterator[tuple[Path, str]]:
        if not self._root.is_dir():
            raise SourceError("the folder is not there, or the service may not see it")

        def broken(error: OSError) -> None:
            # Else what is below would look as if it had vanished.
            raise SourceError(f"a folder in it cannot be listed: {error.strerror}") from None

        for folder, names, files in os.walk(self._root, onerror=broken):
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in sorted(files):
                path = Path(folder, name)
                if name.startswith(".") or path.is_symlink() or not self._wanted(path):
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue  # it has gone meanwhile
                if not S_ISREG(stat.st_mode):
                    continue
                yield path, f"{stat.st_mtime_ns}-{stat.st_size}"

    def _wanted(self, path: Path) -> bool:
        return included(path.relative_to(self._root).as_posix(), self._include)

    async def _read(self, path: Path) -> FileContent:
        try:
            return FileContent(await asyncio.to_thread(self._content, path), path.name)
        except OSError as error:
            raise Unreadable(f"it cannot be read: {error.strerror}") from None

    def _content(self, path: Path) -> bytes:
        # Not followed, should it have become a link since it was listed.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            content = file.read(self._max_bytes + 1)
        if len(content) > self._max_bytes:
            raise Unreadable(f"it is larger than {self._max_bytes} bytes")
        return content


def included(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path within a source is one of those that are wanted."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)
