"""The built files of the console, which lie in this package."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

from headrace_tracing.ports import WebFile

FOLDER = Path(__file__).resolve().parents[1] / "web"
"""Where the build puts them, and where a wheel has them."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}


class FolderWeb:
    """All files in memory, by path: a path that is asked for never reaches the disk. They are read at first use.

    Args:
        folder: where they lie; one that is missing or empty has none.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: Mapping[str, WebFile] | None = None

    async def files(self) -> Mapping[str, WebFile]:
        """All of them."""
        if self._files is None:
            self._files = await asyncio.to_thread(self._read)
        return self._files

    def _read(self) -> dict[str, WebFile]:
        found = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and (kind := _TYPES.get(path.suffix)):
                name, body = path.relative_to(self._folder).as_posix(), path.read_bytes()
                packed = gzip.compress(body, mtime=0)
                etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
                found[name] = WebFile(name, body, kind, etag, packed if len(packed) < len(body) else b"")
        return found
