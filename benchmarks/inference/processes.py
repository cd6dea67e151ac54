"""CPU time and memory of whole process trees."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds by thread since the threads began; the difference of two is what was used between them."""

    threads: Mapping[tuple[int, int], float] = field(default_factory=dict)

    def __sub__(self, earlier: Self) -> Cpu:
        return Cpu({thread: spent - earlier.threads.get(thread, 0.0) for thread, spent in self.threads.items()})

    @property
    def total_s(self) -> float:
        """CPU seconds of all threads that still live."""
        return sum(self.threads.values())

    @property
    def busiest_s(self) -> float:
        """CPU seconds of the thread that used most."""
        return max(self.threads.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Trees:
    """Some processes and everything below them, looked at anew each time.

    Attributes:
        pids: the roots.
    """

    pids: tuple[int, ...]

    def cpu(self) -> Cpu:
        """CPU time so far; that of threads which have ended is kept as thread 0 of their process."""
        threads: dict[tuple[int, int], float] = {}
        for process in self._processes():
            with contextlib.suppress(psutil.Error, OSError):
                living = dict(_threads(process.pid))
                ended = time.clock_gettime(_clock_of(process.pid)) - sum(living.values())
                for thread, spent in living.items():
                    threads[process.pid, thread] = spent
                threads[process.pid, 0] = max(0.0, ended)
        return Cpu(threads)

    def memory_mib(self) -> dict[str, tuple[float, float]]:
        """RSS and PSS in MiB, by kind of process (`inference`, `triton`, a model's name) and in all (`total`)."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                for name in (_kind(process.cmdline()), "total"):
                    sums[name][0] += memory.rss / 2**20
                    sums[name][1] += memory.pss / 2**20
        return {name: (rss, pss) for name, (rss, pss) in sums.items()}

    def _processes(self) -> Iterator[psutil.Process]:
        for pid in self.pids:
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(pid)
                yield root
                yield from root.children(recursive=True)


def _clock_of(pid: int) -> int:
    """Linux's clock of a process's CPU time, which is exact where /proc counts ticks of 10 ms."""
    return (~pid << 3) | 2


def _threads(pid: int) -> Iterator[tuple[int, float]]:
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            yield int(folder.name), int((folder / "schedstat").read_text().split()[0]) / 1e9


def _kind(arguments: list[str]) -> str:
    program = arguments[0].rsplit("/", 1)[-1] if arguments else "other"
    if program == "triton_python_backend_stub":
        # <repository>/<model>/<version>/model.py
        return f"model {arguments[1].split('/')[-3]}"
    return {"tritonserver": "triton"}.get(program, "inference" if "headrace_kit.hosting" in arguments else program)
