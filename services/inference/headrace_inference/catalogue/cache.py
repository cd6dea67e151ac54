"""The cache as a config sees it: where it is, which of its files the config names, and what is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from headrace_inference.catalogue import views
from headrace_inference.catalogue.errors import FileMissing
from headrace_inference.catalogue.space import Removed, Space
from headrace_inference.catalogue.store import Store
from headrace_kit.config import Environment
from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.config.deployments import entries_of
from headrace_kit.config.document import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput, NotFound

_GIB = 2**30


def store_of(env: Environment) -> Store:
    """The cache of this machine."""
    return Store(env.cache_dir / "models")


def wanted_entries(config: Config) -> list[str]:
    """Catalogue entries that some deployment uses, in order."""
    return list(dict.fromkeys(name for deployment in config.deployments.values() for name in entries_of(deployment)))


def chosen_entries(config: Config, names: Iterable[str] | None) -> dict[str, CatalogueEntry]:
    """Entries by name; None: those that deployments use.

    Raises:
        NotFound: no such entry.
        BadInput: an entry's licence is not among those that are accepted.
    """
    accepted = config.services.inference.accept_licences
    chosen = {}
    for name in wanted_entries(config) if names is None else names:
        if name not in config.catalogue:
            raise NotFound(f"the catalogue has no {name!r}{nearest(name, config.catalogue)}", param="catalogue")
        entry = chosen[name] = config.catalogue[name]
        if accepted is not None and entry.licence not in accepted:
            raise BadInput(
                f"{name} is under {entry.licence!r}, which services.inference.accept_licences does not list",
                param=f"catalogue.{name}.licence",
            )
    return chosen


def space_of(config: Config, store: Store, more: Iterable[str] = ()) -> Space:
    """The cache's size under a config: files of its deployments, and of the entries in `more`, are never evicted."""
    quota = config.services.inference.model_cache_gib
    kept = {file.sha256 for name in (*wanted_entries(config), *more) for file in config.catalogue[name].files}
    names = {file.sha256: f"{name}/{file.name}" for name, entry in config.catalogue.items() for file in entry.files}
    return Space(store, None if quota is None else int(quota * _GIB), kept, names)


def collect(config: Config, env: Environment, *, unused: bool = False, dry_run: bool = False) -> list[Removed]:
    """Remove what nobody needs from the cache; see `Space.collect`."""
    return space_of(config, store_of(env)).collect(unused=unused, dry_run=dry_run)


def files(config: Config, env: Environment, name: str) -> Mapping[str, Path]:
    """An entry's files on this machine: file name -> path, all in one folder. Notes that they are used now.

    Raises:
        NotFound: no such entry.
        BadInput: its licence is not accepted.
        FileMissing: some are not here; the message names them and says where they were looked for.
    """
    (entry,) = chosen_entries(config, [name]).values()
    store = store_of(env)
    missing = [file.name for file in entry.files if not store.has(file)]
    if missing:
        raise FileMissing(
            f"catalogue entry {name!r} is not on this machine: {', '.join(missing)} not in {store.folder}; "
            f"fetch with: headrace models pull {name}",
            param=f"catalogue.{name}",
        )
    for file in entry.files:
        store.touch(file)
    with contextlib.suppress(OSError):  # a cache that is mounted read-only has its folders already
        views.link(store, name, entry)
    found = views.paths(store, name, entry)
    if all(path.exists() for path in found.values()):
        return found
    return {file.name: store.path(file) for file in entry.files}


def folder(config: Config, env: Environment, name: str) -> Path:
    """The folder with all files of an entry, for engines that want one path.

    Raises:
        NotFound, BadInput, FileMissing: as `files`.
    """
    files(config, env, name)
    return views.link(store_of(env), name, config.catalogue[name])


class InUse:
    """Keeps the files of a config's deployments from being evicted, by any process, while this one lives."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._held: dict[str, BinaryIO] = {}

    def keep(self, config: Config) -> None:
        """Hold the files that this config's deployments use, and let go of the others."""
        store = store_of(self._env)
        wanted = {file.sha256: file for name in wanted_entries(config) for file in config.catalogue[name].files}
        for sha256 in [sha256 for sha256 in self._held if sha256 not in wanted]:
            self._held.pop(sha256).close()
        for sha256, file in wanted.items():
            if sha256 not in self._held:
                store.touch(file)
                with contextlib.suppress(OSError):  # nobody evicts from a cache that is mounted read-only here
                    self._held[sha256] = store.use(sha256)

    def close(self) -> None:
        """Let go of all."""
        while self._held:
            self._held.popitem()[1].close()
