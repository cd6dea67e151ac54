"""Versions of models on disk: `<out>/<name>/<number>/`, the newest of which Triton serves.

A deployment that renders to what is there keeps its version; one that changed gets the next number, so that Triton
loads it beside the version in use.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace_inference.rendering.model import DIGEST, Rendered


def newest(out: Path, name: str) -> int | None:
    """The newest version of a model on disk, None where there is none."""
    return max(_versions(out, name), default=None)


def differs(out: Path, rendered: Rendered) -> bool:
    """Whether what was rendered is not what the newest version on disk was made from."""
    version = newest(out, rendered.name)
    if version is None:
        return True
    try:
        kept = (out / rendered.name / str(version) / DIGEST).read_text(encoding="utf-8").strip()
    except OSError:
        return True
    return kept != rendered.digest()


def write_next(out: Path, rendered: Rendered) -> int:
    """Write it under the next number, beside what is there, and return that number."""
    version = (newest(out, rendered.name) or 0) + 1
    rendered.write(out, version)
    return version


def prune(out: Path, name: str, keep: int = 2) -> list[int]:
    """Remove all but the newest `keep` versions, and return those removed, oldest first."""
    old = sorted(_versions(out, name))[:-keep] if keep else sorted(_versions(out, name))
    for version in old:
        shutil.rmtree(out / name / str(version))
    return old


def remove(out: Path, name: str) -> None:
    """Remove a model with all versions; what was not rendered by us stays."""
    if ours(out / name):
        shutil.rmtree(out / name)


def ours(folder: Path) -> bool:
    """Whether a folder of the repository was made here."""
    return any(folder.glob(f"*/{DIGEST}")) or (folder / "1" / "settings.json").is_file()


def _versions(out: Path, name: str) -> list[int]:
    folder = out / name
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
