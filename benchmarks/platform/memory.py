"""Memory of all processes of one platform."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import psutil


def idle_mib(data_dir: Path) -> dict[str, float]:
    """Proportional set size in MiB, by kind of process and in total (`memory.total`); shared pages count once."""
    sums: dict[str, float] = defaultdict(float)
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEADRACE_DATA_DIR") == str(data_dir):
                mib = process.memory_full_info().pss / 2**20
                sums[f"memory.{kind(process.cmdline())}"] += mib
                sums["memory.total"] += mib
        except psutil.Error:
            continue
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def kind(arguments: list[str]) -> str:
    """What a process is of, by its command line."""
    joined = " ".join(arguments)
    for word in ("triton", "postgres", "valkey", "supervisor", "haproxy"):
        if word in joined.lower():
            return word
    if "headrace_kit.hosting" in arguments:
        return arguments[-1]
    return "ray" if "ray" in joined else Path(arguments[0]).name if arguments else "other"
