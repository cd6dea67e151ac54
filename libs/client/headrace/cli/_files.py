"""Documents from files: which files, what of them is text, what the platform reads, and in which batches they go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from headrace.cli._failures import Failure
from headrace.types.documents import Acl, Document

MOST_BYTES = 10 * 1024 * 1024
"""Largest document that the platform takes."""

READ_THERE = (".pdf", ".docx", ".pptx", ".xlsx", ".html", ".htm", ".xhtml", ".eml", ".csv", ".tsv")
"""Endings of files that are sent as they are."""

_MARKDOWN = (".md", ".markdown", ".mdx")
_BATCH_DOCUMENTS = 100
_BATCH_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    file: str
    reason: str


def find(named: Sequence[str]) -> list[Path]:
    """The files that names, globs and folders stand for, each once, in order. Hidden files in folders are left out.

    Raises:
        Failure: a name stands for nothing.
    """
    found: dict[Path, None] = {}
    for name in named:
        paths = _expanded(name)
        if not paths:
            raise Failure(f"{name}: no such file")
        for path in paths:
            found |= dict.fromkeys(_inside(path) if path.is_dir() else [path])
    return list(found)


def _expanded(name: str) -> list[Path]:
    path = Path(name)
    if path.exists() or not has_magic(name):
        return [path] if path.exists() else []
    return [Path(hit) for hit in sorted(glob(name, recursive=True))]  # noqa: PTH207 (Path.glob takes no absolute ones)


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def identity(path: Path) -> str:
    """A document's id: its path relative to the working directory where it is below, else its name."""
    absolute = path.resolve()
    here = Path.cwd().resolve()
    return absolute.relative_to(here).as_posix() if absolute.is_relative_to(here) else absolute.name


def read(paths: Iterable[Path], acl: Acl | None) -> tuple[list[Document], list[Skipped]]:
    """The documents, and what is no text, is empty, or is too large.

    Raises:
        Failure: two files would be one document.
        OSError: a file cannot be read.
    """
    documents: dict[str, Document] = {}
    skipped: list[Skipped] = []
    for path in paths:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
        text = None if content is None or b"\0" in content else _decoded(content)
        if content is None:
            skipped.append(Skipped(str(path), f"larger than {MOST_BYTES // 1024**2} MiB"))
        elif text is None:
            skipped.append(Skipped(str(path), "not text"))
        elif not text.strip():
            skipped.append(Skipped(str(path), "empty"))
        elif identity(path) in documents:
            raise Failure(f"{path}: another file has the id {identity(path)!r}; run this in a folder above both")
        else:
            kind = "text/markdown" if path.suffix.lower() in _MARKDOWN else "text/plain"
            documents[identity(path)] = Document(identity(path), text, path.name, None, acl, kind)
    return list(documents.values()), skipped


def apart(ids: Sequence[str], uploads: Iterable[Path]) -> None:
    """Raises Failure when files to be uploaded would be one document with each other or with `ids`."""
    seen = set(ids)
    for path in uploads:
        if identity(path) in seen:
            raise Failure(f"{path}: another file has the id {identity(path)!r}; run this in a folder above both")
        seen.add(identity(path))


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Documents in order, in requests of a size that no limit stands against."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        grown = len(document.text.encode())
        if batch and (len(batch) == _BATCH_DOCUMENTS or size + grown > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += grown
    if batch:
        yield batch
