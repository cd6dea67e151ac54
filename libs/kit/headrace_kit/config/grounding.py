"""How answers are held to the documents that they are grounded in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section


class Grounding(Section):
    """What a grounded model says when its documents say nothing, and when it says what they do not."""

    relevance: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Cosine similarity of a passage to the question from which it is used. Default: every passage is.",
    )
    not_found: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="The answer when no passage is found, or none is relevant; no model is asked then. Default: the "
        "model answers without passages.",
    )
    support: float = Field(
        0.5,
        ge=0.05,
        le=1,
        description="Share of a sentence's words, by how telling they are, that a passage must have to support it.",
    )
    unsupported: Literal["tell", "withhold"] = Field(
        "tell",
        description="`tell`: sentences without support are marked in the `headrace` object. `withhold`: they do not go "
        "out, and text goes out sentence by sentence.",
    )

    @model_validator(mode="after")
    def _needs_words(self) -> Grounding:
        if self.relevance is not None and self.not_found is None:
            raise ValueError("relevance needs not_found: what is said when no passage is relevant")
        return self


class Rewrite(Section):
    """How `services.retrieval.rewriter` rewrites a question; the question itself is searched for too."""

    condense: bool = Field(True, description="Make a question of a conversation stand by itself.")
    wordings: int = Field(0, ge=0, le=5, description="Ask in so many other words as well.")
    hypothetical: bool = Field(False, description="Search for the vector of a made-up answer as well (HyDE).")


class Conversations(Section):
    """What a model keeps of conversations by itself, by the id and the user that requests give."""

    memory: Name = Field("memory", description="Collection of the kind `memory` that turns are kept in.")
    max_tokens: int | None = Field(
        None,
        ge=64,
        le=1_000_000,
        description="Tokens of what was said before that the model is told; never more than a quarter of its context. "
        "Default: `services.retrieval.memory.context_tokens`.",
    )
