"""`models:` what product teams name in their requests."""

from __future__ import annotations

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section
from headrace_kit.config.caching import Cache
from headrace_kit.config.cascades import Accept, Learned, LowConfidence
from headrace_kit.config.grounding import Conversations, Grounding, Rewrite
from headrace_kit.config.resilience import Resilience
from headrace_kit.config.routing import PoolEntry, Routing, When


class Stage(Section):
    """One step of a cascade."""

    deployment: Name | None = Field(None, description="Entry of `deployments`: short for a pool of one.")
    adapter: Name | None = Field(None, description="LoRA adapter of the deployment that answers. Default: none.")
    deployments: tuple[PoolEntry, ...] = Field(
        (), max_length=64, description="Deployments any of which may answer; instead of `deployment`."
    )
    accept: Accept | None = Field(None, description="Condition; an answer below it goes on to the next stage.")
    when: When | None = Field(
        None, description="Requests that this stage is for; others go on to the next one. Not for the last stage."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Stage:
        if (self.deployment is None) == (not self.deployments):
            raise ValueError("a stage has exactly one of deployment and deployments")
        check_pool(self.deployments, self.adapter)
        return self

    @property
    def pool(self) -> tuple[PoolEntry, ...]:
        """Its deployments, also where the config only names one."""
        return self.deployments or (PoolEntry(deployment=self.deployment or "", adapter=self.adapter),)


def check_pool(entries: tuple[PoolEntry, ...], adapter: str | None) -> None:
    """What must hold of `deployments` and the `adapter` beside it. Raises ValueError."""
    if entries and adapter is not None:
        raise ValueError("adapter goes with deployment: in deployments each entry names its own")
    seen = set()
    for entry in entries:
        if (key := (entry.deployment, entry.adapter)) in seen:
            raise ValueError(f"deployments has {entry.deployment!r} twice: give it one entry, with the sum of weights")
        seen.add(key)


class Model(Resilience):
    """A model as product teams see it: a cascade of deployments with its policies."""

    deployment: Name | None = Field(None, description="Short for a cascade of one stage.")
    adapter: Name | None = Field(None, description="LoRA adapter of that deployment. Stages of a cascade name theirs.")
    deployments: tuple[PoolEntry, ...] = Field(
        (), max_length=64, description="Deployments any of which may answer; short for a cascade of one stage."
    )
    routing: Routing = Field(
        default_factory=Routing, description="How one of several deployments is chosen, in each stage."
    )
    cascade: tuple[Stage, ...] = Field((), description="Stages in order; all but the last need `accept`.")
    fallbacks: tuple[Name, ...] = Field(
        (), description="Deployments tried in order when the last stage's engine fails."
    )
    learned: Learned | None = Field(
        None, description="A trained router decides, in place of `accept` and `when`. Each stage is one deployment."
    )
    low_confidence: LowConfidence | None = Field(
        None,
        description="What happens when the last or only stage is not sure. Default: its answer is given.",
    )
    guardrails: Name | None = Field(None, description="Policy over input, retrieved text and output.")
    collections: tuple[Name, ...] = Field((), description="Collections that every answer is grounded in.")
    passages: int = Field(4, ge=1, le=50, description="Passages put into the prompt.")
    passage_window: int = Field(
        0, ge=0, le=40, description="Pieces of its document on either side that come with each passage."
    )
    passage_section: bool = Field(
        False,
        description="Bring all that stands under a passage's headings; with `passage_window` no farther than that.",
    )
    rerank: bool = Field(True, description="Order passages by the cross-encoder before the best are taken.")
    rewrite: Rewrite | None = Field(
        None, description="How questions are rewritten before passages are searched for. Default: not at all."
    )
    grounding: Grounding = Field(
        default_factory=Grounding, description="How its answers are held to the passages that they are grounded in."
    )
    conversations: Conversations | None = Field(
        None,
        description="Keep what is said under a request's `conversation_id`, and tell the model of it the next time. "
        "Default: callers send all of a conversation each time.",
    )
    cache: Cache | None = Field(None, description="Answers that are given again instead of made again. Default: none.")
    timeout_ms: int = Field(120_000, ge=100, le=3_600_000, description="Longest time for an answer, in milliseconds.")

    @model_validator(mode="after")
    def _stages(self) -> Model:
        if [self.deployment is not None, bool(self.deployments), bool(self.cascade)].count(True) != 1:
            raise ValueError("a model has exactly one of deployment, deployments and cascade")
        check_pool(self.deployments, self.adapter)
        if self.adapter is not None and self.cascade:
            raise ValueError("adapter goes with deployment: in a cascade each stage names its own")
        if self.learned is not None:
            self._check_learned()
            return self
        for number, stage in enumerate(self.cascade[:-1]):
            if stage.accept is None:
                raise ValueError(f"cascade[{number}] needs accept: only the last stage goes without")
        if self.cascade and self.cascade[-1].accept is not None:
            raise ValueError("the last stage of a cascade cannot have accept: there is nothing to escalate to")
        if self.cascade and self.cascade[-1].when is not None:
            raise ValueError("the last stage of a cascade cannot have when: it is for whatever is left")
        return self

    def _check_learned(self) -> None:
        if len(self.cascade) < 2:
            raise ValueError("learned needs a cascade of two stages or more")
        for number, stage in enumerate(self.cascade):
            if stage.accept is not None or stage.when is not None or len(stage.pool) > 1:
                raise ValueError(f"cascade[{number}]: with learned a stage is one deployment, without accept and when")
        if len({stage.pool[0].deployment for stage in self.cascade}) < len(self.cascade):
            raise ValueError("with learned each stage has a deployment of its own")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The cascade, also where the config only names a deployment."""
        return self.cascade or (Stage(deployment=self.deployment, adapter=self.adapter, deployments=self.deployments),)
