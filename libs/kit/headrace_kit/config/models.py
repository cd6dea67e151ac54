"""`models:` what product teams name in their requests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section
from headrace_kit.config.caching import Cache
from headrace_kit.config.resilience import Resilience


class Accept(Section):
    """When a cascade stage's answer is good enough."""

    signal: Literal["mean_logprob", "min_logprob"] = Field(
        description="Confidence of an answer: mean or least natural log probability of its tokens."
    )
    at_least: float = Field(ge=-100, le=0, description="Least value that is accepted.")


class Stage(Section):
    """One step of a cascade."""

    deployment: Name = Field(description="Entry of `deployments`.")
    adapter: Name | None = Field(None, description="LoRA adapter of the deployment that answers. Default: none.")
    accept: Accept | None = Field(None, description="Condition; an answer below it goes on to the next stage.")


class Model(Resilience):
    """A model as product teams see it: a cascade of deployments with its policies."""

    deployment: Name | None = Field(None, description="Short for a cascade of one stage.")
    adapter: Name | None = Field(None, description="LoRA adapter of that deployment. Stages of a cascade name theirs.")
    cascade: tuple[Stage, ...] = Field((), description="Stages in order; all but the last need `accept`.")
    fallbacks: tuple[Name, ...] = Field(
        (), description="Deployments tried in order when the last stage's engine fails."
    )
    guardrails: Name | None = Field(None, description="Policy over input, retrieved text and output.")
    collections: tuple[Name, ...] = Field((), description="Collections that every answer is grounded in.")
    passages: int = Field(4, ge=1, le=50, description="Passages put into the prompt.")
    rerank: bool = Field(True, description="Order passages by the cross-encoder before the best are taken.")
    cache: Cache | None = Field(None, description="Answers that are given again instead of made again. Default: none.")
    timeout_ms: int = Field(120_000, ge=100, le=3_600_000, description="Longest time for an answer, in milliseconds.")

    @model_validator(mode="after")
    def _stages(self) -> Model:
        if (self.deployment is None) == (not self.cascade):
            raise ValueError("a model has exactly one of deployment and cascade")
        if self.adapter is not None and self.cascade:
            raise ValueError("adapter goes with deployment: in a cascade each stage names its own")
        for number, stage in enumerate(self.cascade[:-1]):
            if stage.accept is None:
                raise ValueError(f"cascade[{number}] needs accept: only the last stage goes without")
        if self.cascade and self.cascade[-1].accept is not None:
            raise ValueError("the last stage of a cascade cannot have accept: there is nothing to escalate to")
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The cascade, also where the config only names a deployment."""
        return self.cascade or (Stage(deployment=self.deployment or "", adapter=self.adapter),)
