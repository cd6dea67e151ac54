"""The units' log files: kept small, and read from their end."""

import os
import shutil
from pathlib import Path

LIMIT_BYTES = 10_000_000


def rotate(log: Path, *, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move what a log holds to `<log>.1` once it has grown past the limit. True when it did.

    The unit writes to the file itself, in append mode, and goes on undisturbed; a line written between the copy and
    the cut is lost.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    shutil.copy2(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)
    return True


def tail(log: Path, lines: int, *, since_byte: int = 0, limit_bytes: int = 65_536) -> list[str]:
    """The last lines of a log, at most those within its last `limit_bytes`; none where there is no log."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since_byte, end - limit_bytes) if since_byte < end else end)
            text = file.read()
    except FileNotFoundError:
        return []
    return text.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []
