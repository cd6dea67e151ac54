"""The folder of one log: segment files, named by the first position in them."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headrace_gateway.ledger.frames import frames, parse

_SUFFIX = ".log"
_LOCK = "lock"


class Segments:
    """Reads and discards. One process at a time owns a log's folder; the lock dies with it.

    The folder's name is the log's id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_id = folder.name
        self._lock: IO[str] | None = None

    def own(self) -> bool:
        """Take the folder; False while another living process has it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.folder / _LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def path(self, first: int) -> Path:
        """The segment that begins with position `first`."""
        return self.folder / f"{first:020d}{_SUFFIX}"

    def firsts(self) -> list[int]:
        """First positions of the segments that are there, in order."""
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())

    def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` events behind position `after`, with their positions."""
        firsts = self.firsts()
        start = max([first for first in firsts if first <= after + 1], default=firsts[0] if firsts else 0)
        found: list[tuple[int, bytes]] = []
        for first in firsts:
            if first < start:
                continue
            for position, payload in self._segment(first):
                if position > after:
                    found.append((position, payload))
                    if len(found) >= limit:
                        return found
        return found

    def last(self) -> int:
        """The last position that can be read; 0 for an empty log."""
        for first in reversed(self.firsts()):
            if positions := [position for position, _ in self._segment(first)]:
                return positions[-1]
        return 0

    def discard(self, upto: int) -> None:
        """Delete the segments that hold nothing behind position `upto`; the newest one stays."""
        firsts = self.firsts()
        for first, following in itertools.pairwise(firsts):
            if following - 1 <= upto:
                self.path(first).unlink(missing_ok=True)

    def delete(self) -> None:
        """Delete the log with its folder, and let go of it."""
        for first in self.firsts():
            self.path(first).unlink(missing_ok=True)
        (self.folder / _LOCK).unlink(missing_ok=True)
        self.folder.rmdir()
        self.release()

    def release(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _segment(self, first: int) -> Iterator[tuple[int, bytes]]:
        try:
            data = self.path(first).read_bytes()
        except FileNotFoundError:
            return
        for payload in frames(data):
            event = parse(payload)
            if event is None:
                return
            yield event.sequence, payload


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
