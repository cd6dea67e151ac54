"""What of the catalogue is on this machine, and is it what it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from headrace_inference.catalogue.cache import chosen_entries, store_of
from headrace_inference.catalogue.errors import SourceFailed
from headrace_inference.catalogue.sources import Progress, Report
from headrace_inference.catalogue.store import Store, check
from headrace_kit.config import Environment
from headrace_kit.config.catalogue import CatalogueEntry, ModelFile
from headrace_kit.config.document import Config

State = Literal["cached", "partial", "missing", "corrupt"]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file of the catalogue.

    Attributes:
        state: `cached`, `partial` (a download was begun), `missing`, or `corrupt` with a reason in `detail`.
        last_used: when a process last loaded or fetched it; None where it is not cached.
    """

    entry: str
    file: str
    size: int
    licence: str
    state: State
    path: Path
    detail: str = ""
    last_used: datetime | None = None


def status(config: Config, env: Environment, entries: Iterable[str] | None = None) -> list[FileStatus]:
    """What of the catalogue is in the cache. Default: all entries. Raises NotFound."""
    store = store_of(env)
    return [_status(store, name, entry, file) for name, entry, file in _listed(config, entries)]


def verify(
    config: Config, env: Environment, entries: Iterable[str] | None = None, progress: Progress | None = None
) -> list[FileStatus]:
    """As `status`, and every cached file is hashed again; a corrupt one is deleted so that `pull` fetches it."""
    store = store_of(env)
    found = []
    for name, entry, file in _listed(config, entries):
        path = store.path(file)
        if path.exists():
            if progress is not None:
                progress(Report(name, file.name, "checking", 0, file.size))
            try:
                check(file, path, "the cache", unsafe=entry.allow_unsafe)
            except SourceFailed as failure:
                path.unlink()
                found.append(FileStatus(name, file.name, file.size, entry.licence, "corrupt", path, str(failure)))
                continue
            if progress is not None:
                progress(Report(name, file.name, "ready", file.size, file.size))
        found.append(_status(store, name, entry, file))
    return found


def _listed(config: Config, entries: Iterable[str] | None) -> list[tuple[str, CatalogueEntry, ModelFile]]:
    chosen = chosen_entries(config, entries) if entries is not None else dict(config.catalogue)
    return [(name, entry, file) for name, entry in chosen.items() for file in entry.files]


def _status(store: Store, name: str, entry: CatalogueEntry, file: ModelFile) -> FileStatus:
    path = store.path(file)
    if store.has(file):
        used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return FileStatus(name, file.name, file.size, entry.licence, "cached", path, last_used=used)
    if path.exists():
        detail = f"it has {path.stat().st_size} of {file.size} bytes; fetch it with: headrace models pull {name}"
        return FileStatus(name, file.name, file.size, entry.licence, "corrupt", path, detail)
    begun = store.folder / f"{file.sha256}.part"
    state: State = "partial" if begun.exists() else "missing"
    return FileStatus(name, file.name, file.size, entry.licence, state, path)
