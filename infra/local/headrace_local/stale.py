"""Files that a killed unit leaves behind."""

from collections.abc import Iterable
from pathlib import Path


def remove(patterns: Iterable[str]) -> None:
    """Remove the files that match; only the last part of a pattern may hold wildcards."""
    for pattern in patterns:
        path = Path(pattern)
        for found in path.parent.glob(path.name):
            found.unlink(missing_ok=True)
