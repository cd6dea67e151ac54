"""Immutable snapshots named by their content, and the store that follows the file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from watchfiles import awatch

from headrace_kit.config.document import Config
from headrace_kit.config.loading import ConfigInvalid, load

_log = logging.getLogger(__name__)
_LOOK_MS = 5000
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
TAGS = frozenset({"check", "engine", "kind"})
"""Fields that tell the kinds of a section apart: they count also where a kind's own is its default."""
KEPT = 8
"""Snapshots that a service keeps, so that requests admitted under an older one can end under it."""


@dataclass(frozen=True)
class Snapshot:
    """A validated config. Two files that mean the same have the same hash.

    What is as by default does not count, so that services of two versions, one of which knows more options, agree on
    the name of a config that uses none of them: a gateway waits for its services to have the config that it has.
    """

    config: Config
    path: Path

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(_meant(self.config), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class ConfigStore:
    """Holds the current snapshot and the last few, and follows the file when told to.

    An invalid file is refused with a log line, and the last good snapshot goes on serving; `error` says why.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._kept: dict[str, Snapshot] = {snapshot.hash: snapshot}
        self._current = snapshot
        self._listeners: list[Callable[[Snapshot], None]] = []
        self.error: str | None = None
        self._read = _stamp(snapshot.path)

    @classmethod
    def from_file(cls, path: Path) -> ConfigStore:
        """Load the first snapshot.

        Raises:
            ConfigInvalid: the file cannot be used.
        """
        read = _stamp(path)
        store = cls(Snapshot(load(path), path))
        store._read = read
        return store

    @property
    def current(self) -> Snapshot:
        """The newest valid snapshot."""
        return self._current

    @property
    def hashes(self) -> list[str]:
        """Hashes of the snapshots that are kept, newest first."""
        return list(reversed(self._kept))

    def get(self, digest: str) -> Snapshot | None:
        """The kept snapshot with this hash."""
        return self._kept.get(digest)

    def on_change(self, listener: Callable[[Snapshot], None]) -> None:
        """Call `listener` with every new snapshot, on the event loop, in the order of registration."""
        self._listeners.append(listener)

    def replace(self, snapshot: Snapshot) -> None:
        """Make `snapshot` current and tell the listeners. The same content again changes nothing."""
        self.error = None
        if snapshot.hash == self._current.hash:
            return
        self._kept.pop(snapshot.hash, None)
        self._kept[snapshot.hash] = snapshot
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._current = snapshot
        _log.info("config snapshot active", extra={"config_hash": snapshot.hash})
        for listener in self._listeners:
            try:
                listener(snapshot)
            except Exception:
                _log.exception("a part could not take the new config")

    def reload(self) -> None:
        """Read the file again."""
        self._read = _stamp(self._current.path)
        try:
            self.replace(Snapshot(load(self._current.path), self._current.path))
        except ConfigInvalid as error:
            self.error = error.message
            _log.error("config refused, the last good one goes on: %s", error.message)

    async def follow(self) -> None:
        """Reload whenever the file changes, until cancelled.

        Folders are watched, not the file: editors replace it by renaming. A mounted ConfigMap changes by another way:
        the file is a link through `..data`, which is moved to a new folder, and the old folder is removed. So the
        folder that holds the link is watched beside the one that the link leads to now.
        """
        stop = asyncio.Event()
        try:
            while True:
                watched = self._folders()
                # Between two watches a change goes unseen: so it is looked for every few seconds as well.
                async for changes in awatch(
                    *watched, recursive=False, stop_event=stop, rust_timeout=_LOOK_MS, yield_on_timeout=True
                ):
                    if changes or _stamp(self._current.path) != self._read:
                        self.reload()
                    if self._folders() != watched:
                        break
        finally:
            stop.set()

    def _folders(self) -> set[Path]:
        path = self._current.path
        return {folder for folder in (path.absolute().parent, path.resolve().parent) if folder.is_dir()}


def _meant(value: Any) -> Any:
    """What a section says beyond its defaults, and of which kind it is, as JSON has it."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: _meant(one)
            for name, one in value
            if name in TAGS or one != fields[name].get_default(call_default_factory=True)
        }
    if isinstance(value, Mapping):
        return {_ANY.dump_python(key, mode="json"): _meant(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_meant(one) for one in value]
    return (
        sorted(_ANY.dump_python(value, mode="json")) if isinstance(value, Set) else _ANY.dump_python(value, mode="json")
    )


def _stamp(path: Path) -> tuple[Path, int]:
    """What tells one state of the file from another."""
    try:
        return path.resolve(), path.stat().st_mtime_ns
    except OSError:
        return path, 0
