"""`tenants:` teams and what they may use."""

from __future__ import annotations

from pydantic import Field

from headrace_kit.config.base import Name, Section


class Limits(Section):
    """Limits of one tenant over all its keys."""

    concurrent_requests: int = Field(1000, ge=1, le=1_000_000, description="Requests at one time, per gateway replica.")


class Tenant(Section):
    """A team."""

    allow_models: tuple[Name, ...] | None = Field(None, description="Models that it may name. Default: all.")
    limits: Limits = Field(default_factory=Limits, description="Limits.")
