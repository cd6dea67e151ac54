"""A file that arrives in blocks, in any order, over several connections and several lives of the process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

BLOCK = 2 * 1024 * 1024
"""Bytes that are there or not; a killed download loses at most this much a connection."""

_THERE = b"1"
_MISSING = b"0"


class Partial:
    """A sparse file, a map of the blocks that are there, and a hash that follows them in order.

    A block is marked only after it was written, so what is marked is there also after a kill. The map's first line is
    the server's mark of the version (its ETag) that the bytes are of.

    Args:
        path: of the bytes; the map stands beside it.
        size: of the whole file.
        block: bytes of one block.
    """

    def __init__(self, path: Path, size: int, block: int = BLOCK) -> None:
        self.path = path
        self.size = size
        self._block = block
        self._count = -(-size // block)
        self._map = path.with_name(path.name + ".map")
        self._lock = threading.Lock()
        self._stopped = False
        self._data = -1
        self._marks = -1
        self._there = bytearray(self._count)
        self._done = 0
        self._offset = 0
        self._changed = threading.Condition(self._lock)
        self._digest = hashlib.sha256()
        self._follower: threading.Thread | None = None
        self.version = ""

    def __enter__(self) -> Self:
        """Open it with what an earlier life left."""
        self._data = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._marks = os.open(self._map, os.O_RDWR | os.O_CREAT, 0o644)
        self._read_map()
        self._follow()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt()
        os.close(self._data)
        os.close(self._marks)

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return self._done == self.size

    def missing(self, most: int) -> Iterator[tuple[int, int]]:
        """Runs of bytes that are not there, as start and end (exclusive), none longer than about `most`."""
        with self._lock:
            there = bytes(self._there)
        blocks = max(1, most // self._block)
        index = 0
        while index < self._count:
            if there[index]:
                index += 1
                continue
            end = index
            while end < self._count and end - index < blocks and not there[end]:
                end += 1
            yield index * self._block, min(end * self._block, self.size)
            index = end

    def restart(self, version: str) -> None:
        """Forget all bytes; those that come are of `version`."""
        self._halt()
        self._there = bytearray(self._count)
        self._done = 0
        os.ftruncate(self._data, 0)
        self._write_map(version)
        self._digest = hashlib.sha256()
        self._follow()

    def of_version(self, version: str) -> None:
        """Note which version of the server's file the bytes are of."""
        if version != self.version:
            self._write_map(version)

    def writer(self, start: int) -> Writer:
        """Takes bytes from `start`, which is the start of a block, onward."""
        return Writer(self, start)

    def put(self, at: int, content: bytes | memoryview) -> None:
        """Write bytes at a place without marking them."""
        view = memoryview(content)
        while view:
            written = os.pwrite(self._data, view, at)
            view, at = view[written:], at + written

    def mark(self, index: int) -> None:
        """Block `index` is there."""
        os.pwrite(self._marks, _THERE, self._offset + index)
        with self._changed:
            if not self._there[index]:
                self._done += self._length(index)
            self._there[index] = 1
            self._changed.notify_all()

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the whole; waits for the follower, which is close behind. Call it when complete."""
        if self._follower is not None:
            self._follower.join()
            self._follower = None
        return self._digest.hexdigest()

    def forget(self) -> None:
        """Delete the map; the bytes have moved to their place, or are of no use."""
        with contextlib.suppress(OSError):
            self._map.unlink()

    def discard(self) -> None:
        """Delete bytes and map."""
        self.forget()
        self.path.unlink(missing_ok=True)

    def block_at(self, position: int) -> tuple[int, int, int]:
        """Index, start and length of the block that holds a position."""
        index = position // self._block
        return index, index * self._block, self._length(index)

    def _length(self, index: int) -> int:
        return min(self._block, self.size - index * self._block)

    def _read_map(self) -> None:
        raw = Path(self._map).read_bytes()
        head, found, marks = raw.partition(b"\n")
        fields = head.decode(errors="replace").split(" ", 2)
        if not found or len(marks) != self._count or fields[:2] != [str(self.size), str(self._block)]:
            os.ftruncate(self._data, 0)
            self._write_map("")
            return
        self.version = fields[2] if len(fields) > 2 else ""
        self._offset = len(head) + 1
        held = os.fstat(self._data).st_size
        for index in range(self._count):
            inside = index * self._block + self._length(index) <= held
            if marks[index : index + 1] == _THERE and inside:
                self._there[index] = 1
                self._done += self._length(index)

    def _write_map(self, version: str) -> None:
        with self._lock:
            self.version = version.replace("\n", "")
            head = f"{self.size} {self._block} {self.version}\n".encode()
            marks = b"".join(_THERE if there else _MISSING for there in self._there)
            os.pwrite(self._marks, head + marks, 0)
            os.ftruncate(self._marks, len(head) + len(marks))
            self._offset = len(head)

    def _follow(self) -> None:
        self._stopped = False
        self._follower = threading.Thread(target=self._hash, name="sha256", daemon=True)
        self._follower.start()

    def _halt(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._follower is not None:
            self._follower.join()
            self._follower = None

    def _hash(self) -> None:
        """Hash block after block, as far as they are there."""
        for index in range(self._count):
            with self._changed:
                while not self._there[index] and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
            self._digest.update(os.pread(self._data, self._length(index), index * self._block))


class Writer:
    """Writes one run of bytes and marks each block as soon as it is whole."""

    def __init__(self, partial: Partial, start: int) -> None:
        self._partial = partial
        self._at = start

    @property
    def at(self) -> int:
        """Where the next byte goes."""
        return self._at

    def write(self, content: bytes) -> None:
        """Take the bytes that follow. They must not go beyond the file."""
        view = memoryview(content)
        while view:
            index, start, length = self._partial.block_at(self._at)
            piece = view[: start + length - self._at]
            self._partial.put(self._at, piece)
            self._at += len(piece)
            view = view[len(piece) :]
            if self._at == start + length:
                self._partial.mark(index)
