"""Files outside the data directory: links that a unit needs, and what a killed unit leaves behind."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def remove(patterns: Iterable[str]) -> None:
    """Remove the files that match; only the last part of a pattern may hold wildcards."""
    for pattern in patterns:
        path = Path(pattern)
        for found in path.parent.glob(path.name):
            found.unlink(missing_ok=True)


def link(links: Mapping[str, str]) -> None:
    """Make the links, and the folder of each where it is missing.

    Raises:
        PermissionError: the folder is not this user's alone.
    """
    for path, target in links.items():
        folder = Path(path).parent
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder} must belong to this user alone: remove it")
        Path(path).unlink(missing_ok=True)
        Path(path).symlink_to(target)


def unlink(links: Mapping[str, str]) -> None:
    """Remove the links, and their folders once nothing else is in them."""
    for path in links:
        Path(path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(path).parent.rmdir()
