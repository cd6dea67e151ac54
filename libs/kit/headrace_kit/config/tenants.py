"""`tenants:` teams and what they may use."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Field, model_validator

from headrace_kit.config.base import Name, Percent, Section


class Limits(Section):
    """Limits of one tenant over all its keys.

    A rate is a bucket that refills all the time and holds one minute's worth. Gateway replicas share it by demand.
    """

    requests_per_minute: int | None = Field(
        None, ge=1, le=10_000_000, description="Requests a minute, over all replicas. Default: no limit."
    )
    tokens_per_minute: int | None = Field(
        None,
        ge=1,
        le=10_000_000_000,
        description="Input and output tokens a minute, over all replicas: counted by an estimate when a request comes, "
        "and by the truth when it has ended. Default: no limit.",
    )
    concurrent_requests: int = Field(1000, ge=1, le=1_000_000, description="Requests at one time, per gateway replica.")


class Budget(Section):
    """Money that a tenant may spend in a day or a month of UTC."""

    usd: Decimal = Field(ge=0, le=1_000_000, decimal_places=9, description="US dollars for the whole period.")
    per: Literal["day", "month"] = Field(description="The period; it begins at midnight UTC.")
    alerts: tuple[Percent, ...] = Field(
        (8_000,), max_length=16, description="Shares of the budget at which platform engineers are told, once each."
    )
    fail: Literal["closed", "open"] = Field(
        "closed",
        description="While Valkey is away and the share that this gateway has leased is spent: `closed` refuses "
        "requests with 503, `open` serves them, counts them, and may go over the budget.",
    )

    @property
    def nano_usd(self) -> int:
        """The amount in nano-dollars."""
        return int(self.usd * 1_000_000_000)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | Budget) else value


Budgets = Annotated[tuple[Budget, ...], BeforeValidator(_listed, json_schema_input_type=Budget | tuple[Budget, ...])]


class Placed(Protocol):
    """A deployment, as far as tenants care where it is."""

    @property
    def residency(self) -> str | None:
        """Where it computes."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        ...


class Tenant(Section):
    """A team."""

    allow_models: tuple[Name, ...] | None = Field(None, description="Models that it may name. Default: all.")
    limits: Limits = Field(default_factory=Limits, description="Limits.")
    budget: Budgets = Field(
        (), max_length=2, description="What it may spend: one budget, or a list of one a day and one a month."
    )
    guardrails: tuple[Name, ...] = Field(
        (), max_length=8, description="Policies that hold for all its requests, besides the model's own."
    )
    residency: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        description="Where its requests may be computed, for example `[eu]`. Deployments elsewhere, or without a "
        "`residency`, never get them: in no stage, fallback, retry or rollout. Default: anywhere.",
    )
    require_tags: tuple[Name, ...] = Field(
        (), max_length=64, description="Tags that a deployment must have, all of them, to serve it."
    )
    forbid_tags: tuple[Name, ...] = Field(
        (), max_length=64, description="Tags of which a deployment that serves it has none."
    )

    trace_content: Literal["off", "redacted", "full"] | None = Field(
        None, description="What its traces keep of content. Default: what `telemetry.content` says."
    )

    trace_sample: Percent | None = Field(
        None,
        description="Share of its requests that are traced, where the caller has not decided that. Default: what "
        "`telemetry.sample` says.",
    )

    trace_keep: Percent | None = Field(
        None,
        description="Share of its plain traces that keep their spans. Default: what `services.tracing.thin.keep` says.",
    )

    @model_validator(mode="after")
    def _periods_apart(self) -> Tenant:
        if len({budget.per for budget in self.budget}) < len(self.budget):
            raise ValueError("two budgets are for the same period: write one a day and one a month")
        return self

    @model_validator(mode="after")
    def _tags_apart(self) -> Tenant:
        if both := set(self.require_tags) & set(self.forbid_tags):
            raise ValueError(f"require_tags and forbid_tags both have {', '.join(sorted(both))}")
        return self

    @property
    def bounded(self) -> bool:
        """Whether there are deployments that it may not use, whichever model it names."""
        return self.residency is not None or bool(self.require_tags or self.forbid_tags)

    def may_use(self, deployment: Placed) -> bool:
        """Whether a deployment may be sent this tenant's requests."""
        if self.residency is not None and deployment.residency not in self.residency:
            return False
        tags = deployment.tags
        return all(tag in tags for tag in self.require_tags) and not any(tag in tags for tag in self.forbid_tags)
