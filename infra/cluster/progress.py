"""Lines of progress, with the seconds since the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line."""
    print(f"cluster {time.monotonic() - _STARTED:7.1f} s  {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say that something begins, and how long it took."""
    say(text)
    started = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - started:.1f} s")


def wait(what: str, ready: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> None:
    """Return when something is so.

    Raises:
        TimeoutError: it is not, after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {timeout_s:.0f} s")
        time.sleep(every_s)
