"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings


def pytest_configure() -> None:
    """Judge no test by the time that it took, and take SIGINT as under a terminal.

    A shell ignores SIGINT for background jobs, and all their children inherit that.
    """
    settings.register_profile("headrace", deadline=None)
    settings.load_profile("headrace")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
