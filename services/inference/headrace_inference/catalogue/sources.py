"""The places that files come from."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from headrace_inference.catalogue.errors import SourceFailed
from headrace_inference.catalogue.packages import Wheels
from headrace_inference.catalogue.store import Store
from headrace_kit.config.catalogue import ModelFile, Source

_CONNECT_S = 4.0
_READ_S = 60.0
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """How far a file is: `done` of `size` bytes, from `source` (empty when it was in the cache)."""

    entry: str
    file: str
    state: Literal["waiting", "downloading", "checking", "ready"]
    done: int
    size: int
    source: str = ""


Progress = Callable[[Report], None]
"""Called from several threads, at most a few times a second per file."""


def describe(source: Source) -> str:
    """A source as a person reads it."""
    if source.path is not None:
        return str(source.path)
    if source.hub is not None:
        return f"the model hub ({source.hub})"
    packages = [member.package for member in source.pypi or ()]
    return f"package {packages[0]}" + (f" and {len(packages) - 1} more" if len(packages) > 1 else "")


class Hub:
    """The model hub over HTTPS. Once it could not be reached it is not asked again.

    Args:
        endpoint: base URL.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._away: str | None = None
        self._lock = threading.Lock()

    def fetch(self, file: ModelFile, address: str, partial: Path, told: Callable[[int], None]) -> None:
        """Download `owner/repo[@revision]/file` into `partial`, going on from what it holds.

        Raises:
            SourceFailed: the hub is away, does not have it, or has another file under that name.
        """
        if self._away:
            raise SourceFailed(self._away)
        owner, repo, path = address.split("/", 2)
        repo, _, revision = repo.partition("@")
        url = f"{self._endpoint}/{owner}/{repo}/resolve/{revision or 'main'}/{path}"
        start = partial.stat().st_size if partial.exists() else 0
        timeout = httpx.Timeout(_READ_S, connect=_CONNECT_S)
        try:
            with (
                httpx.Client(timeout=timeout, follow_redirects=True) as client,
                client.stream("GET", url, headers={"Range": f"bytes={start}-"} if start else {}) as response,
            ):
                self._receive(file, response, partial, told)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            with self._lock:
                self._away = f"the model hub at {self._endpoint} cannot be reached ({type(error).__name__})"
            raise SourceFailed(self._away) from error
        except httpx.HTTPError as error:
            raise SourceFailed(f"the download from the model hub broke: {type(error).__name__}") from error

    def _receive(self, file: ModelFile, response: httpx.Response, partial: Path, told: Callable[[int], None]) -> None:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink(missing_ok=True)
            raise SourceFailed("the hub's file is shorter than what was downloaded before")
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise SourceFailed(f"the model hub answered {response.status_code}")
        # The hub names the sha256 of large files in the redirect: another file is not downloaded in vain.
        for step in (*response.history, response):
            linked = step.headers.get("x-linked-etag", "").strip('"')
            if len(linked) == 64 and linked != file.sha256:
                raise SourceFailed(f"{file.name} at the model hub has the sha256 {linked}, wanted {file.sha256}")
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        with partial.open("ab" if resumed else "wb") as out:
            done = out.tell()
            for block in response.iter_bytes(_BLOCK):
                done += out.write(block)
                if done > file.size:
                    raise SourceFailed(f"{file.name} at the model hub is larger than {file.size} bytes")
                told(done)


class Sources:
    """Fetches a file from one of its sources into the store.

    Args:
        store: where files go.
        hub: the hub.
        wheels: the package index.
        base: folder that relative paths start from.
        offline: take local paths only.
    """

    def __init__(self, store: Store, hub: Hub, wheels: Wheels, base: Path, offline: bool) -> None:
        self._store = store
        self._hub = hub
        self._wheels = wheels
        self._base = base
        self._offline = offline

    def fetch(self, file: ModelFile, source: Source, told: Callable[[int], None]) -> None:
        """Get `file` from `source` and put it in its place. Call it with the file's lock held.

        Args:
            told: called with the bytes received so far.

        Raises:
            SourceFailed: with the reason, for a person.
        """
        name = describe(source)
        if source.path is not None:
            self._copy(file, self._base / source.path, name)
            return
        if self._offline:
            raise SourceFailed(f"{name}: not asked, HEADRACE_OFFLINE is set")
        if source.hub is not None:
            partial = self._store.partial(file)
            self._hub.fetch(file, source.hub, partial, told)
            self._store.adopt(file, partial, name)
            return
        with self._store.scratch(file) as scratch:
            whole = scratch / "whole"
            with whole.open("wb") as out:
                self._wheels.concatenate(source.pypi or (), out, told)
            self._store.adopt(file, whole, name)

    def _copy(self, file: ModelFile, path: Path, name: str) -> None:
        if not path.is_file():
            raise SourceFailed(f"{name}: no such file")
        with self._store.scratch(file) as scratch:
            copied = scratch / "copy"
            try:
                shutil.copyfile(path, copied)
            except OSError as error:
                raise SourceFailed(f"{name}: {error.strerror}") from error
            self._store.adopt(file, copied, name)
