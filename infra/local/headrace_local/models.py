"""Model files and Triton's model repository, made ready before Triton starts."""

import threading
import time

from rich.filesize import decimal

from headrace_inference.catalogue import Report, pull
from headrace_inference.rendering import Places, here, render, require_fit
from headrace_kit.config import ConfigStore, Environment
from headrace_local import triton
from headrace_local.settings import Settings

TELL_S = 1
"""Seconds between two lines of progress about the same file."""


def prepare(settings: Settings) -> None:
    """Fetch the files that the config's deployments need and render the model repository.

    Raises:
        TritonError: its environment is missing.
        HeadraceError: the config is invalid, or a file cannot be had.
    """
    layout = settings.layout
    triton.link_backend(layout, triton.environment(settings.triton_env))
    snapshot = ConfigStore.from_file(settings.config).current
    machine, catalogue = here(), snapshot.config.catalogue
    require_fit(snapshot.config, Places({}, catalogue), machine)  # before gigabytes are fetched
    files = pull(snapshot, Environment(), progress=_Printer())
    require_fit(snapshot.config, Places(files, catalogue), machine)
    names = render(snapshot.config, triton.repository(layout), files, machine)
    print(f"ready: {', '.join(names)}")


class _Printer:
    """A line per file and second, on standard output."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()  # several files are fetched at a time

    def __call__(self, report: Report) -> None:
        with self._lock:
            name = f"{report.entry}/{report.file}"
            now = time.monotonic()
            if report.state not in ("downloading", "checking") or now - self._last.get(name, 0) < TELL_S:
                return
            self._last[name] = now
            sizes = f"{decimal(report.done)} of {decimal(report.size)}"
            print(f"{name}: {report.state} {sizes} from {report.source}", flush=True)
