"""The places that files come from."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace_inference.catalogue.download import Target, Web
from headrace_inference.catalogue.errors import SourceFailed
from headrace_inference.catalogue.packages import Wheels
from headrace_inference.catalogue.store import Store
from headrace_kit.config import Environment, Secrets
from headrace_kit.config.base import SecretRef
from headrace_kit.config.catalogue import ModelFile, Source


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
    if source.url is not None:
        return source.url
    packages = [member.package for member in source.pypi or ()]
    return f"package {packages[0]}" + (f" and {len(packages) - 1} more" if len(packages) > 1 else "")


@dataclass(frozen=True, slots=True)
class Hub:
    """The model hub, or a mirror of it.

    Attributes:
        endpoint: base URL.
        token: sent to it alone; None: none.
    """

    endpoint: str
    token: str | None = None

    def target(self, address: str, sha256: str) -> Target:
        """Where `owner/repo[@revision]/file` is."""
        owner, repo, path = address.split("/", 2)
        repo, _, revision = repo.partition("@")
        url = f"{self.endpoint.rstrip('/')}/{owner}/{repo}/resolve/{revision or 'main'}/{path}"
        return Target(url, f"the model hub at {self.endpoint}", sha256, _bearer(self.token) if self.token else {})


@dataclass(frozen=True, slots=True)
class Outside:
    """What sources need besides the store.

    Attributes:
        web: the network.
        wheels: the package index.
        hub: the hub.
        secrets: credentials of addresses.
        base: folder that relative paths start from.
        offline: take local paths only.
    """

    web: Web
    wheels: Wheels
    hub: Hub
    secrets: Secrets
    base: Path
    offline: bool

    @classmethod
    def of(cls, env: Environment, hub_token: SecretRef, base: Path, web: Web, wheels: Wheels) -> Outside:
        """As the process's environment says."""
        secrets = Secrets(env.secrets_path, env.variables())
        return cls(web, wheels, Hub(env.hub_endpoint, secrets.get(hub_token)), secrets, base, env.offline)


class Sources:
    """Fetches a file from one of its sources into the store."""

    def __init__(self, store: Store, outside: Outside) -> None:
        self._store = store
        self._outside = outside

    def fetch(self, file: ModelFile, source: Source, told: Callable[[int], None], *, unsafe: bool) -> None:
        """Get `file` from `source` and put it in its place. Call it with the file's lock held.

        Args:
            file: what is wanted.
            source: where from.
            told: called with the bytes received so far.
            unsafe: pickles are taken.

        Raises:
            SourceFailed: with the reason, for a person.
        """
        name = describe(source)
        if source.path is not None:
            self._copy(file, self._outside.base / source.path, name, unsafe)
        elif self._outside.offline:
            raise SourceFailed(f"{name}: not asked, HEADRACE_OFFLINE is set")
        elif source.pypi is not None:
            with self._store.scratch(file) as scratch:
                whole = scratch / "whole"
                with whole.open("wb") as out:
                    self._outside.wheels.concatenate(source.pypi, out, told)
                self._store.adopt(file, whole, name, unsafe=unsafe)
        else:
            self._download(file, self._target(file, source), told, unsafe)

    def _target(self, file: ModelFile, source: Source) -> Target:
        if source.hub is not None:
            return self._outside.hub.target(source.hub, file.sha256)
        url = source.url or ""
        if source.credentials is None:
            return Target(url, url, file.sha256)
        secret = self._outside.secrets.get(source.credentials)
        if secret is None:
            raise SourceFailed(f"{url}: its credentials, secret {source.credentials.secret!r}, are not set")
        return Target(url, url, file.sha256, _basic(source.user, secret) if source.user else _bearer(secret))

    def _download(self, file: ModelFile, target: Target, told: Callable[[int], None], unsafe: bool) -> None:
        partial = self._store.partial(file)
        with partial:
            resumed = partial.done > 0
            self._outside.web.download(target, partial, told)
            digest = partial.digest()
            if digest != file.sha256 and resumed:
                # What an earlier life left may have been of another version: once more, all of it.
                partial.restart("")
                self._outside.web.download(target, partial, told)
                digest = partial.digest()
        partial.forget()
        self._store.adopt(file, partial.path, target.name, unsafe=unsafe, digest=digest)

    def _copy(self, file: ModelFile, path: Path, name: str, unsafe: bool) -> None:
        if not path.is_file():
            raise SourceFailed(f"{name}: no such file")
        with self._store.scratch(file) as scratch:
            copied = scratch / "copy"
            try:
                shutil.copyfile(path, copied)
            except OSError as error:
                raise SourceFailed(f"{name}: {error.strerror}") from error
            self._store.adopt(file, copied, name, unsafe=unsafe)


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
