"""`collections:` where documents live."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section


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
    embedding: Name = Field("minilm", description="Deployment that embeds its passages.")
    acl: Literal["required", "none"] = Field(
        "none", description="`required`: each document says who may read it. `none`: all callers of its tenants."
    )
    shared_with: tuple[Name, ...] = Field((), description="Other tenants that may read it.")
    guardrails: tuple[Name, ...] = Field(
        (), max_length=8, description="Policies that its passages pass besides the model's own, as `retrieved`."
    )
    chunking: Chunking = Field(default_factory=Chunking, description="How documents are cut.")
