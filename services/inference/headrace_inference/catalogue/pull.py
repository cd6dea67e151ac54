"""Get, look at and check the files that a config names. Works without a platform: `headrace models pull|verify`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace_inference.catalogue.errors import FileUnavailable, SourceFailed
from headrace_inference.catalogue.packages import Wheels
from headrace_inference.catalogue.sources import Hub, Progress, Report, Sources, describe
from headrace_inference.catalogue.store import ENDINGS, Store, check
from headrace_kit.config import Environment
from headrace_kit.config.catalogue import CatalogueEntry, ModelFile
from headrace_kit.config.deployments import entries_of
from headrace_kit.config.document import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import BadInput, NotFound

_PARALLEL = 4
_TELL_S = 0.2


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file of the catalogue: is it `cached`, `missing`, or (after `verify`) `corrupt` with a reason."""

    entry: str
    file: str
    size: int
    licence: str
    state: Literal["cached", "missing", "corrupt"]
    path: Path
    detail: str = ""


def wanted_entries(config: Config) -> list[str]:
    """Catalogue entries that some deployment uses, in order."""
    return list(dict.fromkeys(name for deployment in config.deployments.values() for name in entries_of(deployment)))


def pull(
    snapshot: Snapshot, env: Environment, entries: Iterable[str] | None = None, progress: Progress | None = None
) -> Mapping[str, Mapping[str, Path]]:
    """Make sure that files are in the cache; several are fetched at a time.

    Args:
        snapshot: relative paths of sources are relative to its file.
        env: says where the cache is, the hub's address, and whether to stay offline.
        entries: names of catalogue entries. Default: those that deployments use.
        progress: told how far each file is.

    Returns:
        Paths: entry -> file name -> path.

    Raises:
        NotFound: no such entry.
        BadInput: a file of a kind that is not taken.
        FileUnavailable: no source gave a file; what was fetched stays in the cache.
    """
    chosen = _chosen(snapshot.config, entries)
    store = Store(env.cache_dir / "models")
    jobs = [(name, file) for name, entry in chosen.items() for file in entry.files]
    with (
        Wheels(store.wheels(), _packages(file for _, file in jobs if not store.has(file))) as wheels,
        ThreadPoolExecutor(_PARALLEL, thread_name_prefix="pull") as pool,
    ):
        sources = Sources(store, Hub(env.hub_endpoint), wheels, snapshot.path.resolve().parent, env.offline)
        futures = [pool.submit(_fetch, store, sources, name, file, progress) for name, file in jobs]
        for future in futures:
            future.result()
    return {name: {file.name: store.path(file) for file in entry.files} for name, entry in chosen.items()}


def status(config: Config, env: Environment, entries: Iterable[str] | None = None) -> list[FileStatus]:
    """What of the catalogue is in the cache. Default: all entries. Raises NotFound."""
    store = Store(env.cache_dir / "models")
    return [
        FileStatus(
            name, file.name, file.size, entry.licence, "cached" if store.has(file) else "missing", store.path(file)
        )
        for name, entry in _chosen(config, config.catalogue if entries is None else entries).items()
        for file in entry.files
    ]


def verify(config: Config, env: Environment, entries: Iterable[str] | None = None) -> list[FileStatus]:
    """As `status`, and every cached file is hashed again; a corrupt one is deleted so that `pull` fetches it."""
    store = Store(env.cache_dir / "models")
    found = []
    for name, entry in _chosen(config, config.catalogue if entries is None else entries).items():
        for file in entry.files:
            state: Literal["cached", "missing", "corrupt"] = "missing"
            detail = ""
            if store.path(file).exists():
                try:
                    check(file, store.path(file), "the cache")
                    state = "cached"
                except SourceFailed as failure:
                    state, detail = "corrupt", str(failure)
                    store.path(file).unlink()
            found.append(FileStatus(name, file.name, file.size, entry.licence, state, store.path(file), detail))
    return found


def _packages(files: Iterable[ModelFile]) -> Counter[str]:
    """How often each package is named."""
    return Counter(member.package for file in files for source in file.sources for member in source.pypi or ())


def _chosen(config: Config, entries: Iterable[str] | None) -> dict[str, CatalogueEntry]:
    chosen = {}
    for name in wanted_entries(config) if entries is None else entries:
        if name not in config.catalogue:
            raise NotFound(f"the catalogue has no {name!r}{nearest(name, config.catalogue)}", param="catalogue")
        chosen[name] = config.catalogue[name]
        for file in chosen[name].files:
            if not file.name.endswith(ENDINGS):
                raise BadInput(
                    f"{file.name}: files end in {', '.join(ENDINGS)}; formats that can run code are not taken",
                    param=f"catalogue.{name}.files",
                )
    return chosen


def _fetch(store: Store, sources: Sources, entry: str, file: ModelFile, progress: Progress | None) -> None:
    tell = _Teller(entry, file, progress)
    if not store.has(file):
        tell("waiting", 0)
        with store.lock(file):
            if not store.has(file):  # another process may have fetched it meanwhile
                _try_each(sources, entry, file, tell)
    tell("ready", file.size)


def _try_each(sources: Sources, entry: str, file: ModelFile, tell: _Teller) -> None:
    failures = []
    for source in file.sources:
        tell.source = describe(source)
        tell("downloading", 0)
        try:
            sources.fetch(file, source, tell.downloaded)
            return
        except SourceFailed as failure:
            failures.append(str(failure))
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise FileUnavailable(
        f"{file.name} of catalogue entry {entry!r} could not be had:\n{listed}\n"
        f"Put the file somewhere and name it under catalogue.{entry}.files[].sources as {{path: ...}}, "
        "or make one of these sources reachable.",
        param=f"catalogue.{entry}",
    )


class _Teller:
    """Reports on one file, not more often than a person can read."""

    def __init__(self, entry: str, file: ModelFile, progress: Progress | None) -> None:
        self._entry = entry
        self._file = file
        self._progress = progress
        self._last = 0.0
        self._lock = threading.Lock()
        self.source = ""

    def __call__(self, state: Literal["waiting", "downloading", "checking", "ready"], done: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(Report(self._entry, self._file.name, state, done, self._file.size, self.source))

    def downloaded(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < _TELL_S:
            return
        self._last = now
        self("checking" if done >= self._file.size else "downloading", min(done, self._file.size))
