"""A model of the config, compiled into what a request needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headrace_gateway.cache.plan import CachePlan, compile_cache
from headrace_gateway.cascade.learned import Learned, load_learned
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_kit.config.cascades import Accept, LowConfidence
from headrace_kit.config.deployments import Price, continues, tasks
from headrace_kit.config.document import Config
from headrace_kit.config.grounding import Conversations, Grounding, Rewrite
from headrace_kit.config.models import Model
from headrace_kit.config.resilience import Resilience
from headrace_kit.config.routing import Routing, When

_EVEN = Routing()
_GROUNDED = Grounding()

TASKS = {"generate": "chat", "embed": "embedding", "rerank": "rerank"}
"""What a model's task is called outside."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment as an attempt sees it. Token limits are 0 where the engine has none.

    `accepts` is what messages may hold besides text, `adapter` the LoRA adapter that the model asks it for,
    `internal` whether what it is sent stays inside the company, `continues` whether it can go on with an answer that
    another engine began.
    """

    name: str
    engine: str
    price: Price
    max_output_tokens: int
    context_tokens: int
    accepts: tuple[str, ...] = ()
    adapter: str = ""
    residency: str | None = None
    tags: tuple[str, ...] = ()
    internal: bool = False
    continues: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A deployment of a pool, its share of the requests as a whole number, and which requests it is for."""

    target: Target
    weight: int = 1
    when: When | None = None


@dataclass(frozen=True, eq=False)
class Pool:
    """Deployments any of which may answer; one or more. Two pools are never equal: each has a round of its own."""

    members: tuple[Member, ...]
    routing: Routing = _EVEN
    selective: bool = False
    """Whether some members are not for every request."""

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Its deployments, in the config's order."""
        return tuple(member.target for member in self.members)


def pool(members: Iterable[Member], routing: Routing) -> Pool:
    """A pool of several."""
    members = tuple(members)
    accepts = {member.target.accepts for member in members}
    return Pool(members, routing, len(accepts) > 1 or any(member.when is not None for member in members))


def single(target: Target) -> Pool:
    """A pool of one."""
    return Pool((Member(target),))


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One step of a cascade; the last one has no `accept`."""

    pool: Pool
    accept: Accept | None
    when: When | None = None
    """Requests that it is for; None: all."""


@dataclass(frozen=True)
class ModelPlan:
    """A model, ready to be served. `task` is `generate`, `embed` or `rerank`."""

    name: str
    task: str
    stages: tuple[StagePlan, ...]
    fallbacks: tuple[Pool, ...]
    policy: GuardPolicy | None
    collections: tuple[str, ...]
    passages: int
    passage_window: int
    passage_section: bool
    rerank: bool
    rewrite: Rewrite | None
    attempts: int
    timeout_s: float
    resilience: Resilience
    grounding: Grounding = _GROUNDED
    conversations: Conversations | None = None
    cache: CachePlan | None = None
    low_confidence: LowConfidence | None = None
    learned: Learned | None = None
    embedding: Target | None = None
    """What embeds prompts for `learned`."""

    @cached_property
    def cascades(self) -> bool:
        """Whether answers may be rejected: there is more than one stage, or the last one is judged too."""
        return len(self.stages) > 1 or self.low_confidence is not None

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every deployment that may answer."""
        pools = (*(stage.pool for stage in self.stages), *self.fallbacks)
        return tuple(target for pool in pools for target in pool.targets)

    @cached_property
    def context_tokens(self) -> int:
        """The smallest context of all deployments that may answer; 0 where none is known."""
        targets = (target for stage in self.stages for target in stage.pool.targets)
        return min((target.context_tokens for target in targets if target.context_tokens), default=0)

    @cached_property
    def accepts(self) -> tuple[str, ...]:
        """What messages may hold besides text: `image`, `audio`, where each stage and fallback can take it."""
        pools = [*(stage.pool for stage in self.stages), *self.fallbacks]
        return tuple(
            kind
            for kind in ("image", "audio")
            if all(any(kind in target.accepts for target in pool.targets) for pool in pools)
        )

    @cached_property
    def selective(self) -> bool:
        """Whether some deployments are not for every request."""
        return any(stage.pool.selective for stage in self.stages)


def compile_target(name: str, config: Config, adapter: str | None = None) -> Target:
    """The deployment `name` of a valid config, asked for an adapter of it."""
    deployment = config.deployments[name]
    return Target(
        name=name,
        engine=deployment.engine,
        price=deployment.price,
        max_output_tokens=getattr(deployment, "max_output_tokens", 0),
        context_tokens=getattr(deployment, "context_tokens", 0),
        accepts=getattr(deployment, "accepts", ()),
        adapter=adapter or "",
        residency=deployment.residency,
        tags=deployment.tags,
        internal=deployment.internal,
        continues=continues(deployment),
    )


def compile_model(
    name: str, model: Model, config: Config, policies: dict[str, GuardPolicy], folder: Path = Path()
) -> ModelPlan:
    """The plan of a model whose references were checked (`Config.check_model`).

    Raises:
        ValueError: its router cannot be read from `folder`, or does not fit.
    """
    learned = embedding = None
    if model.learned is not None:
        names = [stage.pool[0].deployment for stage in model.stages]
        learned = load_learned(folder / model.learned.file, model.learned.quality_per_usd, names)
        if model.learned.embedding is not None:
            embedding = compile_target(model.learned.embedding, config)
        elif learned.dimensions:
            raise ValueError(f"models.{name}.learned: {model.learned.file} was trained with embeddings: name one")
    return ModelPlan(
        name=name,
        task=tasks(config.deployments[model.stages[0].pool[0].deployment])[0],
        stages=tuple(
            StagePlan(
                pool(
                    (
                        Member(compile_target(entry.deployment, config, entry.adapter), entry.weight, entry.when)
                        for entry in stage.pool
                    ),
                    model.routing,
                ),
                stage.accept,
                stage.when,
            )
            for stage in model.stages
        ),
        fallbacks=tuple(single(compile_target(fallback, config)) for fallback in model.fallbacks),
        policy=policies[model.guardrails] if model.guardrails else None,
        collections=model.collections,
        passages=model.passages,
        passage_window=model.passage_window,
        passage_section=model.passage_section,
        rerank=model.rerank,
        rewrite=model.rewrite,
        attempts=model.retry.attempts,
        timeout_s=model.timeout_ms / 1000,
        grounding=model.grounding,
        conversations=model.conversations,
        cache=compile_cache(model, config),
        resilience=model,
        low_confidence=model.low_confidence,
        learned=learned,
        embedding=embedding,
    )
