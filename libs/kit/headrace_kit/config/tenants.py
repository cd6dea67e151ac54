"""`tenants:` teams and what they may use."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section


class Limits(Section):
    """Limits of one tenant over all its keys."""

    concurrent_requests: int = Field(1000, ge=1, le=1_000_000, description="Requests at one time, per gateway replica.")


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
