"""`models.<name>.cache`: answers that are given again instead of made again."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, Name, Section


class SemanticCache(Section):
    """Answers to questions that mean the same, though their words differ."""

    embedding: Name = Field(description="Embedding deployment that compares questions; its calls are billed.")
    at_least: float = Field(0.93, ge=0.5, le=1, description="Least cosine similarity of two questions.")
    verify: Literal["terms", "none"] = Field(
        "terms",
        description="`terms`: numbers, negations, names, identifiers and quoted text of the two must be the same too. "
        "`none`: similarity alone decides.",
    )
    reranker: Name | None = Field(
        None, description="Rerank deployment that is asked about the best candidates as well. Default: none."
    )
    rerank_at_least: float | None = Field(
        None, description="Least score that it gives to an answered question. Required with `reranker`."
    )
    entries: int = Field(
        256, ge=1, le=4096, description="Questions kept to compare with, per conversation before them; the oldest go."
    )

    @model_validator(mode="after")
    def _reranker(self) -> SemanticCache:
        if (self.reranker is None) != (self.rerank_at_least is None):
            raise ValueError("reranker and rerank_at_least go together")
        return self


class Cache(Section):
    """Answers of a model that may be given again. Each is for its own tenant, user, groups and arm alone."""

    ttl: Duration = Field(3600, gt=0, le=30 * 86_400, description="How long an answer may be given again.")
    max_temperature: float = Field(
        0.7,
        ge=0,
        le=2,
        description="Requests that ask for a higher temperature are not cached, unless `headrace.cache` is `use`.",
    )
    max_answer_bytes: int = Field(262_144, ge=1024, le=8_388_608, description="Larger answers are not kept, in bytes.")
    entries: int = Field(
        10_000, ge=1, le=10_000_000, description="Answers kept per tenant and model; the oldest go first."
    )
    single_flight: bool = Field(
        True,
        description="A request waits for the answer to the very same one that is being made for the same rights.",
    )
    semantic: SemanticCache | None = Field(None, description="Also answer questions that mean the same. Default: no.")
