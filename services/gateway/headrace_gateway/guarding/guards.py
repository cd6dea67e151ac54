"""Which policies hold for a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from headrace_gateway.arms.guardrails import Trial
from headrace_gateway.context import RequestContext
from headrace_gateway.guarding.decisions import Decisions
from headrace_gateway.guarding.input import Guard
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.guarding.remote import Guardrails, RequestRemote, nowhere
from headrace_gateway.routing.plan import ModelPlan
from headrace_gateway.routing.table import Table
from headrace_kit.errors import NotFound


@dataclass(frozen=True, slots=True)
class Guards:
    """Makes the guard of each request. `canary` is the candidate release of the service, where there is one."""

    service: Guardrails
    decisions: Decisions
    canary: Callable[[], Guardrails | None] = nowhere

    def put(self, ctx: RequestContext, trial: Trial | None) -> None:
        """Put a request on a release of the service for all that it asks. Where the config says of no second one where
        it is, it is on none."""
        if trial is None or self.canary() is None:
            return
        ctx.trial = trial
        ctx.attributes["headrace.guardrails.rollout_id"] = trial.rollout_id
        ctx.attributes["headrace.guardrails.arm"] = trial.arm

    def of(self, ctx: RequestContext, plan: ModelPlan, extra: str = "") -> Guard:
        """The model's policy, the tenant's, and the one that the request adds, each once, in this order.

        Raises:
            NotFound: there is no policy `extra`.
        """
        policies = dict.fromkeys([plan.policy] if plan.policy else [])
        policies |= dict.fromkeys(_named(ctx.table, ctx.table.tenant(ctx.identity.tenant).guardrails))
        if extra:
            found = ctx.table.policies.get(extra)
            if found is None:
                raise NotFound(
                    f"no guardrail policy {extra[:64]!r}", code="policy_not_found", param="headrace.guardrails"
                )
            policies[found] = None
        collections = {
            name: [policy for policy in _named(ctx.table, collection.guardrails) if policy not in policies]
            for name, collection in ctx.table.config.collections.items()
            if collection.guardrails
        }
        return Guard(
            list(policies),
            ctx.outcome.guardrails,
            RequestRemote(self.service, ctx, self.canary, list(policies)),
            partial(self.decisions.note, ctx),
            collections,
        )


def _named(table: Table, names: Sequence[str]) -> list[GuardPolicy]:
    return [table.policies[name] for name in names]
