"""Room for model files: the cache's quota, the disk, and what goes first when there is too little."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace_inference.catalogue import views
from headrace_inference.catalogue.errors import NoRoom
from headrace_inference.catalogue.store import Store
from headrace_kit.config.catalogue import ModelFile

_SPARE_BYTES = 64 * 1024 * 1024
"""Kept free on the disk beyond what is fetched."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was removed from the cache, or would be.

    Attributes:
        name: `entry/file` where the config knows it, else the name in the cache.
        size: bytes that come free.
        reason: `unused` (least recently used, no deployment needs it), `unfinished` (part of a download that nothing
            goes on with), `leftover` (of a process that is gone).
        path: where it is, or was.
    """

    name: str
    size: int
    reason: Literal["unused", "unfinished", "leftover"]
    path: Path


class Space:
    """Looks after a cache's size.

    Args:
        store: the cache.
        quota: most bytes; None: no limit but the disk.
        kept: sha256 of files that are never evicted.
        names: sha256 -> `entry/file`, for messages.
    """

    def __init__(self, store: Store, quota: int | None, kept: Collection[str], names: Mapping[str, str]) -> None:
        self._store = store
        self._quota = quota
        self._kept = frozenset(kept)
        self._names = names

    def make(self, wanted: Iterable[ModelFile]) -> list[Removed]:
        """Make room for files that will be fetched, by evicting within the quota.

        Raises:
            NoRoom: what may go is not enough; then nothing was removed.
        """
        missing = {file.sha256: file for file in wanted if not self._store.has(file)}
        if not missing:
            return []
        needed = sum(file.size for file in missing.values())
        parts = {f"{sha256}.part" for sha256 in missing}
        with self._alone():
            begun = sum(_held(path) for path in self._store.folder.glob("*.part") if path.name in parts)
            removed = self._within_quota(needed, parts)
            free = shutil.disk_usage(self._store.folder).free
            if needed - begun + _SPARE_BYTES > free:
                raise NoRoom(
                    f"the disk of {self._store.folder} has {_gib(free)} free, and {_gib(needed - begun)} are to be "
                    "fetched: free some, name another folder by HEADRACE_CACHE_DIR, or look at what "
                    "`headrace models gc --unused --dry-run` would remove",
                    param="HEADRACE_CACHE_DIR",
                )
        return removed

    def collect(self, *, unused: bool = False, dry_run: bool = False) -> list[Removed]:
        """Remove what nobody needs: leftovers, and files beyond the quota, the least recently used first.

        Args:
            unused: every file that no deployment uses, whatever the quota.
            dry_run: only say what would go.
        """
        with self._alone():
            found = list(self._leftovers())
            if not dry_run:
                for item in found:
                    _delete(item.path)
            found += self._evict(None if unused else self._excess(found), dry_run=dry_run)
            if not dry_run:
                for folder in views.broken(self._store):
                    views.remove(folder)
        return found

    def _within_quota(self, needed: int, parts: Collection[str]) -> list[Removed]:
        if self._quota is None:
            return []
        excess = self._occupied(parts) + needed - self._quota
        if excess <= 0:
            return []
        able = sum(item.size for item in self._evict(excess, dry_run=True))
        if able < excess:
            raise NoRoom(
                f"services.inference.model_cache_gib allows {_gib(self._quota)}: {_gib(needed)} are to be fetched, "
                f"{_gib(self._occupied(parts))} are there, and {_gib(able)} of that may go, because deployments use "
                "the rest: raise it, or configure fewer models on this machine",
                param="services.inference.model_cache_gib",
            )
        removed = self._evict(excess, dry_run=False)
        for folder in views.broken(self._store):
            views.remove(folder)
        return removed

    def _evict(self, excess: int | None, *, dry_run: bool) -> list[Removed]:
        """Remove files that nobody uses, the least recently used first, until `excess` bytes (None: all) are free."""
        removed: list[Removed] = []
        freed = 0
        for path in sorted(self._store.complete(), key=lambda path: path.stat().st_mtime):
            if excess is not None and freed >= excess:
                break
            if path.name in self._kept:
                continue
            with self._store.unused(path.name) as idle:
                if not idle:
                    continue
                made = self._store.converted(path.name)
                size = path.stat().st_size + sum(_held(one) for one in made)
                item = Removed(self._names.get(path.name, path.name), size, "unused", path)
                if not dry_run:
                    for one in (*made, path):
                        one.unlink()
            removed.append(item)
            freed += item.size
        return removed

    def _leftovers(self) -> Iterator[Removed]:
        for path in self._store.dead_wheels():
            yield Removed(path.name, _held(path), "leftover", path)
        for path in sorted(self._store.folder.glob("*.part")):
            sha256 = path.stem
            wanted = sha256 in self._names and not (self._store.folder / sha256).exists()
            with self._store.unused(sha256) as idle:
                if idle and not wanted:
                    for one in (path, path.with_name(path.name + ".map")):
                        if one.exists():
                            yield Removed(self._names.get(sha256, one.name), _held(one), "unfinished", one)
        for path in self._store.converted():
            sha256 = path.name.partition("-")[0]
            with self._store.unused(sha256) as idle:
                if idle and (path.suffix == ".tmp" or not (self._store.folder / sha256).exists()):
                    yield Removed(path.name, _held(path), "leftover", path)
        for path in sorted(self._store.folder.glob("*.tmp")):
            with self._store.unused(path.stem) as idle:
                if idle:
                    yield Removed(path.name, _held(path), "leftover", path)

    def _occupied(self, without: Collection[str]) -> int:
        complete = sum(path.stat().st_size for path in self._store.complete())
        complete += sum(_held(path) for path in self._store.converted() if path.name not in without)
        parts = (path for path in self._store.folder.glob("*.part") if path.name not in without)
        return complete + sum(_held(path) for path in parts)

    def _excess(self, removed: Iterable[Removed]) -> int:
        """Bytes beyond the quota, without what is removed anyway."""
        if self._quota is None:
            return 0
        return max(0, self._occupied({item.path.name for item in removed}) - self._quota)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time decides what goes."""
        with (self._store.folder / "space.lock").open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def _held(path: Path) -> int:
    """Bytes on the disk: a sparse file's holes do not count."""
    if path.is_dir():
        return sum(_held(inside) for inside in path.rglob("*") if inside.is_file())
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
