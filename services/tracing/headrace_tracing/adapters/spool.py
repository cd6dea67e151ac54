"""Batches of spans on disk, for while the store is away. They lie there as they will be stored: redacted."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec
import uuid_utils

from headrace_tracing.domain.spans import Span
from headrace_tracing.ports import Kept, NoRoom, Unreadable

_log = logging.getLogger(__name__)
_SUFFIX = ".spans"
_LOCK = "lock"
_CHECKED = 4
"""Bytes in front of a file's content: its CRC-32."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Span])


class DiskSpool:
    """See the port `Spool`. A file a batch, in a folder that this process alone has; the lock on it dies with it.

    Args:
        root: folder of all such folders; those of processes that are gone are taken over.
        most_bytes: how much may lie there.
    """

    def __init__(self, root: Path, most_bytes: Callable[[], int]) -> None:
        self._root = root
        self._folder = root / str(uuid_utils.uuid7())
        self._most_bytes = most_bytes
        self._numbers = itertools.count(1)
        self._used = 0
        self._lock: IO[str] | None = None
        self._guard = threading.Lock()

    def open(self) -> list[Kept]:
        """See `Spool`."""
        self._lock = _own(self._folder)
        return self.adopt()

    def adopt(self) -> list[Kept]:
        """See `Spool`."""
        found: list[Kept] = []
        for folder in sorted(path for path in self._root.iterdir() if path.is_dir() and path != self._folder):
            lock = _own(folder)
            if lock is None:
                continue
            with lock:
                for path in sorted(folder.glob(f"*{_SUFFIX}")):
                    count = path.stem.rpartition("-")[2]
                    kept = self._named(int(count) if count.isdecimal() else 0, path.stat().st_size)
                    path.rename(self._folder / kept.name)
                    with self._guard:
                        self._used += kept.size_bytes
                    found.append(kept)
                _sync(self._folder)
                shutil.rmtree(folder)
        return found

    def keep(self, spans: Sequence[Span]) -> Kept:
        """See `Spool`."""
        body = zlib.compress(_encode(spans), 1)
        raw = zlib.crc32(body).to_bytes(_CHECKED) + body
        with self._guard:
            if self._used + len(raw) > self._most_bytes():
                raise NoRoom("buffer_full")
            self._used += len(raw)
        kept = self._named(len(spans), len(raw))
        path = self._folder / kept.name
        unfinished = path.with_suffix(".unfinished")
        try:
            with unfinished.open("xb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
            _sync(self._folder)
        except OSError as error:
            with self._guard:
                self._used -= len(raw)
            for left in (unfinished, path):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            _log.error("spans cannot be kept on disk", extra={"folder": str(self._folder), "why": str(error)})
            raise NoRoom("disk") from error
        return kept

    def read(self, kept: Kept) -> list[Span]:
        """See `Spool`."""
        try:
            raw = (self._folder / kept.name).read_bytes()
            if zlib.crc32(raw[_CHECKED:]).to_bytes(_CHECKED) != raw[:_CHECKED]:
                raise Unreadable(f"{kept.name} is damaged")
            return _decoder.decode(zlib.decompress(raw[_CHECKED:]))
        except (OSError, zlib.error, msgspec.MsgspecError) as error:
            raise Unreadable(f"{kept.name} cannot be read: {error}") from error

    def drop(self, kept: Kept) -> None:
        """See `Spool`."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / kept.name).unlink()
            with self._guard:
                self._used -= kept.size_bytes

    def close(self) -> None:
        """See `Spool`."""
        if self._lock is None:
            return
        if not any(self._folder.glob(f"*{_SUFFIX}")):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def _named(self, count: int, size_bytes: int) -> Kept:
        return Kept(f"{next(self._numbers):012d}-{count}{_SUFFIX}", count, size_bytes)


def _own(folder: Path) -> IO[str] | None:
    """The lock of a folder, which is made; None while a living process has it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (folder / _LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
