"""A config snapshot compiled once into the lookups of the hot path."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headrace_gateway.guarding.policy import GuardPolicy, compile_guard
from headrace_gateway.routing.plan import ModelPlan, Target, compile_model, compile_target
from headrace_kit.config import Config, Snapshot
from headrace_kit.config.nearest import nearest
from headrace_kit.config.tenants import Tenant
from headrace_kit.errors import NotFound

_DEFAULT_TENANT = Tenant()


@dataclass(frozen=True)
class Table:
    """Everything that a request looks up; a request keeps the one it was admitted under."""

    hash: str
    config: Config
    created: int
    models: Mapping[str, ModelPlan]
    policies: Mapping[str, GuardPolicy]
    bounded: Mapping[str, Tenant]
    """The tenants that may not use every deployment."""
    folder: Path = Path()
    """Where files are that the config names."""

    @cached_property
    def sample_basis_points(self) -> int:
        """Share of traces that are recorded, in 1/10000."""
        return self.config.telemetry.sample

    def content(self, tenant: str) -> str:
        """What traces keep of what a tenant's requests say: `off`, nothing; `full`, encrypted, also what it was before
        guardrails changed it. Only headrace's own tracing is sent any, never others."""
        telemetry = self.config.telemetry
        return (self.tenant(tenant).trace_content or telemetry.content) if telemetry.to_own_tracing else "off"

    def tenant(self, name: str) -> Tenant:
        """A tenant's section; one that the config does not name may use every model."""
        return self.config.tenants.get(name, _DEFAULT_TENANT)

    def allowed(self, tenant: str) -> list[ModelPlan]:
        """The models that a tenant may name, in the config's order."""
        team = self.tenant(tenant)
        plans = [plan for plan in self.models.values() if team.allow_models is None or plan.name in team.allow_models]
        return [plan for plan in plans if servable(plan, team)] if team.bounded else plans

    def model(self, name: str, tenant: str) -> ModelPlan:
        """The plan of a model that `tenant` may use.

        Raises:
            NotFound: there is none, or it is not for this tenant; the message only proposes the tenant's own.
        """
        plan = self.models.get(name)
        allow = self.tenant(tenant).allow_models
        if plan is None or (allow is not None and name not in allow):
            names = [allowed.name for allowed in self.allowed(tenant)]
            raise NotFound(f"no model {name[:64]!r}{nearest(name[:64], names)}", code="model_not_found", param="model")
        return plan

    def permits(self, tenant: str, target: Target) -> bool:
        """Whether a tenant's requests may be sent to a deployment."""
        team = self.bounded.get(tenant)
        return team is None or team.may_use(target)

    def target(self, name: str) -> Target:
        """A deployment by name, for a caller who names it. Raises NotFound."""
        if name not in self.config.deployments:
            raise NotFound(
                f"no deployment {name[:64]!r}{nearest(name[:64], self.config.deployments)}",
                code="deployment_not_found",
                param="headrace.route",
            )
        return compile_target(name, self.config)


def servable(plan: ModelPlan, team: Tenant) -> bool:
    """Whether each stage of a model has a deployment that a tenant may use."""
    return all(any(map(team.may_use, stage.pool.targets)) for stage in plan.stages)


def compile_table(snapshot: Snapshot) -> Table:
    """Compile a snapshot.

    Raises:
        ValueError: a guardrail check of it cannot be built, or a learned router not be read.
    """
    config, folder = snapshot.config, snapshot.path.parent
    policies = {name: compile_guard(name, policy) for name, policy in config.guardrails.items()}
    return Table(
        hash=snapshot.hash,
        config=config,
        created=int(time.time()),
        models={name: compile_model(name, model, config, policies, folder) for name, model in config.models.items()},
        policies=policies,
        folder=folder,
        bounded={name: tenant for name, tenant in config.tenants.items() if tenant.bounded},
    )
