"""`catalogue:` model files, where they come from and what they must hash to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from headrace_kit.config.base import SecretRef, Section

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

SAFE_ENDINGS = (".gguf", ".safetensors", ".onnx", ".onnx_data", ".json", ".txt", ".model", ".tiktoken", ".jinja")
"""Endings of files that hold weights, tokenizers and settings, and nothing that runs when they are read."""

PICKLES = (".bin", ".pt", ".pth", ".pkl")
"""Endings of files that Python unpickles, which can run code."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address is https://host/path")
    if parts.username or parts.password:
        raise ValueError("credentials do not belong in an address: name them under `credentials: {secret: ...}`")
    if parts.query or parts.fragment:
        raise ValueError("an address has no query and no fragment: what is signed or secret does not belong here")
    return value


Address = Annotated[str, AfterValidator(_address)]


class PackageMember(Section):
    """A file inside a Python package's wheel; the wheel is read, never imported."""

    package: str = Field(description="Pinned requirement.", pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+$")
    member: str = Field(description="Path inside the wheel.", min_length=1)


class _Web(Section):
    """What sources over HTTP have besides an address."""

    url: Address | None = None
    credentials: SecretRef | None = Field(
        None, description="With `url`: secret that is sent as a bearer token, or as the password of `user`."
    )
    user: str | None = Field(None, description="With `credentials`: user name of HTTP basic authentication.")
    plain_http: bool = Field(False, description="With `url`: take http:// from other machines too; sha256 still holds.")

    def _check_web(self) -> None:
        if self.url is None:
            if self.credentials is not None or self.user is not None or self.plain_http:
                raise ValueError("credentials, user and plain_http go with url")
            return
        if self.user is not None and self.credentials is None:
            raise ValueError("user goes with credentials")
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            if not self.plain_http:
                raise ValueError("http:// is for this machine; write https://, or set plain_http: true")
            if self.credentials is not None:
                raise ValueError("credentials are never sent over plain http: write https://")


class Source(_Web):
    """One place to get a file from. Exactly one of path, hub, url and pypi is set; sources are tried in order."""

    path: Path | None = Field(None, description="A file on this machine; a relative one is relative to the config.")
    hub: str | None = Field(
        None,
        description="File on the model hub: `owner/repo/file` or `owner/repo@revision/file`.",
        pattern=r"^[\w.-]+/[\w.-]+(@[\w.-]+)?/.+$",
    )
    url: Address | None = Field(None, description="Address of the file: https, or http on this machine.")
    pypi: tuple[PackageMember, ...] | None = Field(
        None, description="Members of packages; several are concatenated in order.", min_length=1
    )

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(value is not None for value in (self.path, self.hub, self.url, self.pypi)) != 1:
            raise ValueError("a source is exactly one of path, hub, url and pypi")
        self._check_web()
        return self


class FolderSource(_Web):
    """One place that has all files of an entry under their own names. Exactly one of path, hub and url is set."""

    path: Path | None = Field(None, description="A folder on this machine; a relative one is relative to the config.")
    hub: str | None = Field(
        None,
        description="Repository of the model hub, or a folder in it: `owner/repo@revision` or `owner/repo/folder`.",
        pattern=r"^[\w.-]+/[\w.-]+(@[\w.-]+)?(/[\w./-]*\w)?$",
    )
    url: Address | None = Field(None, description="Address that file names are appended to.")

    @model_validator(mode="after")
    def _one(self) -> FolderSource:
        if sum(value is not None for value in (self.path, self.hub, self.url)) != 1:
            raise ValueError("a source of a whole entry is exactly one of path, hub and url")
        self._check_web()
        return self

    def file(self, name: str) -> Source:
        """The source of one file in it."""
        if self.path is not None:
            return Source(path=self.path / name)
        if self.hub is not None:
            return Source(hub=f"{self.hub}/{name}")
        address = f"{(self.url or '').rstrip('/')}/{name}"
        return Source(url=address, credentials=self.credentials, user=self.user, plain_http=self.plain_http)


class ModelFile(Section):
    """One file of a model."""

    name: str = Field(
        description="File name under which engines find it; a folder may stand before it.",
        pattern=r"^\w[\w.-]*(/\w[\w.-]*){0,4}$",
        max_length=255,
    )
    sha256: Sha256 = Field(description="What the file must hash to.")
    size: int = Field(gt=0, description="Bytes.")
    sources: tuple[Source, ...] = Field((), description="Where to get it, tried in order, before the entry's sources.")


class CatalogueEntry(Section):
    """A model's weights."""

    format: Literal["gguf", "onnx", "safetensors", "pickle"] = Field(
        description="File format. `pickle` can run code when it is loaded, and needs `allow_unsafe`."
    )
    licence: str = Field(description="SPDX identifier, or the licence's name.", min_length=1)
    files: tuple[ModelFile, ...] = Field(min_length=1, max_length=1000, description="All files of the model.")
    sources: tuple[FolderSource, ...] = Field(
        (), description="Places that have all files under their own names, tried in order."
    )
    allow_unsafe: bool = Field(
        False, description=f"Take {', '.join(PICKLES)} files too. Loading them can run code: only from whom you trust."
    )

    def sources_of(self, file: ModelFile) -> Iterator[Source]:
        """Where a file of this entry can be had, in order."""
        yield from file.sources
        for folder in self.sources:
            yield folder.file(file.name)

    @model_validator(mode="after")
    def _files(self) -> CatalogueEntry:
        if self.format == "pickle" and not self.allow_unsafe:
            raise ValueError("format pickle can run code when it is loaded: it needs allow_unsafe: true")
        taken = SAFE_ENDINGS + (PICKLES if self.allow_unsafe else ())
        seen: set[str] = set()
        for file in self.files:
            if not file.name.endswith(taken):
                more = "; allow_unsafe: true takes it" if file.name.endswith(PICKLES) else ""
                raise ValueError(
                    f"{file.name}: files end in {', '.join(taken)}; formats that can run code are not taken{more}"
                )
            if file.name in seen:
                raise ValueError(f"{file.name} is listed twice")
            if any(other.startswith(f"{file.name}/") or file.name.startswith(f"{other}/") for other in seen):
                raise ValueError(f"{file.name} is a file and a folder")
            seen.add(file.name)
            if not file.sources and not self.sources:
                raise ValueError(f"{file.name} has no source: give it `sources`, or give the entry some")
        return self
