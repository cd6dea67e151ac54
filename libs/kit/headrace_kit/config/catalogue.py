"""`catalogue:` model files, where they come from and what they must hash to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from headrace_kit.config.base import Section

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class PackageMember(Section):
    """A file inside a Python package's wheel; the wheel is read, never imported."""

    package: str = Field(description="Pinned requirement.", pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+$")
    member: str = Field(description="Path inside the wheel.", min_length=1)


class Source(Section):
    """One place to get a file from. Exactly one of its fields is set; sources are tried in order."""

    path: Path | None = Field(None, description="A file on this machine; a relative one is relative to the config.")
    hub: str | None = Field(
        None,
        description="File on the model hub: `owner/repo/file` or `owner/repo@revision/file`.",
        pattern=r"^[\w.-]+/[\w.-]+(@[\w.-]+)?/.+$",
    )
    pypi: tuple[PackageMember, ...] | None = Field(
        None, description="Members of packages; several are concatenated in order.", min_length=1
    )

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(value is not None for value in (self.path, self.hub, self.pypi)) != 1:
            raise ValueError("a source is exactly one of path, hub and pypi")
        return self


class ModelFile(Section):
    """One file of a model."""

    name: str = Field(description="File name under which engines find it.", pattern=r"^[\w][\w.-]*$")
    sha256: Sha256 = Field(description="What the file must hash to.")
    size: int = Field(gt=0, description="Bytes.")
    sources: tuple[Source, ...] = Field(min_length=1, description="Where to get it, tried in order.")


class CatalogueEntry(Section):
    """A model's weights."""

    format: Literal["gguf", "onnx", "safetensors"] = Field(description="File format; nothing that can run code.")
    licence: str = Field(description="SPDX identifier, or the licence's name.")
    files: tuple[ModelFile, ...] = Field(min_length=1, description="All files of the model.")
