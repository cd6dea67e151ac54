"""An entry's files in a folder of their own, under their own names: what engines that want one path are given.

`entries/<entry>-<id>/` holds relative links, so a cache that is mounted elsewhere works too. The id stands for names
and hashes: another version of an entry is another folder, and the old one stays while an engine reads it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from headrace_inference.catalogue.store import Store
from headrace_kit.config.catalogue import CatalogueEntry

_ID_CHARS = 12


def place(store: Store, name: str, entry: CatalogueEntry) -> Path:
    """Where an entry's folder is, or will be."""
    listed = "\n".join(f"{file.name} {file.sha256}" for file in sorted(entry.files, key=lambda file: file.name))
    return store.folder / "entries" / f"{name}-{hashlib.sha256(listed.encode()).hexdigest()[:_ID_CHARS]}"


def paths(store: Store, name: str, entry: CatalogueEntry) -> Mapping[str, Path]:
    """An entry's files in its folder: file name -> path."""
    folder = place(store, name, entry)
    return {file.name: folder / file.name for file in entry.files}


def link(store: Store, name: str, entry: CatalogueEntry) -> Path:
    """Make an entry's folder, if it is not there; the folder.

    Raises:
        OSError: the cache cannot be written to.
    """
    folder = place(store, name, entry)
    for file in entry.files:
        path = folder / file.name
        target = os.path.relpath(store.path(file), path.parent)
        if path.is_symlink() and path.readlink() == Path(target):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        made.symlink_to(target)
        made.replace(path)  # others may be doing the same: each sees a whole link
    return folder


def broken(store: Store) -> list[Path]:
    """Folders in which a file is missing: it was evicted."""
    folders = store.folder / "entries"
    if not folders.is_dir():
        return []
    return [folder for folder in folders.iterdir() if any(not path.exists() for path in folder.rglob("*"))]


def remove(folder: Path) -> None:
    """Remove a folder of links; what they lead to stays."""
    shutil.rmtree(folder, ignore_errors=True)
