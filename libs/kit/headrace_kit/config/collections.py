"""`collections:` where documents live."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section
from headrace_kit.config.sources import DocumentSource


class Chunking(Section):
    """How a document is cut into passages."""

    max_tokens: int = Field(200, ge=16, le=2048, description="Longest passage, in tokens of the embedding model.")
    overlap_tokens: int = Field(20, ge=0, le=512, description="Tokens that neighbours share.")

    @model_validator(mode="after")
    def _overlap(self) -> Chunking:
        if self.overlap_tokens * 2 > self.max_tokens:
            raise ValueError("overlap_tokens may be at most half of max_tokens")
        return self


class Collection(Section):
    """A collection that exists from the start; others are made by API."""

    tenant: Name = Field(description="Owner.")
    kind: Literal["documents", "memory"] = Field(
        "documents",
        description="`documents`: what a team shares. `memory`: what is kept of people, each for oneself "
        "(`/v1/memory`). It stays as it was made.",
    )
    embedding: Name = Field("minilm", description="Deployment that embeds its passages.")
    acl: Literal["required", "none"] = Field(
        "none", description="`required`: each document says who may read it. `none`: all callers of its tenants."
    )
    shared_with: tuple[Name, ...] = Field((), description="Other tenants that may read it.")
    guardrails: tuple[Name, ...] = Field(
        (), max_length=8, description="Policies that its passages pass besides the model's own, as `retrieved`."
    )
    chunking: Chunking = Field(default_factory=Chunking, description="How documents are cut.")
    sources: dict[Name, DocumentSource] = Field(
        default_factory=dict,
        max_length=64,
        description="Where its documents come from by themselves, besides what is sent. Ids begin with `<source>/`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _personal(cls, given: Any) -> Any:
        """A memory's facts all say who may read them, so that a config that is written out again reads the same."""
        if isinstance(given, dict) and given.get("kind") == "memory":
            return {"acl": "required", **given}
        return given

    @model_validator(mode="after")
    def _rights(self) -> Collection:
        if self.kind == "memory":
            if self.shared_with or self.sources:
                raise ValueError("a memory has neither shared_with nor sources: what it keeps is each person's own")
            if self.acl == "none":
                raise ValueError("a memory keeps each person's facts for that person: leave acl out")
        for name, source in self.sources.items():
            if self.acl == "required" and source.acl is None:
                raise ValueError(f"sources.{name} needs an acl: the collection wants one for each document")
        return self
