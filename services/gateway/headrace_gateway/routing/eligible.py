"""Which deployments a request may be sent to: the one rule that stages, fallbacks, arms and shadows pass."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_gateway.context import RequestContext
from headrace_gateway.routing.plan import Member, ModelPlan, Pool, Target
from headrace_gateway.routing.traits import Traits, traits_of
from headrace_kit.errors import BadInput, Forbidden
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest


def permitted(ctx: RequestContext, target: Target) -> bool:
    """Whether this request may be sent there at all: by its tenant's residency and tags, and what was found in it."""
    return (target.internal or not ctx.sensitive) and ctx.table.permits(ctx.identity.tenant, target)


def eligible(ctx: RequestContext, pool: Pool, request: GenerateRequest | None) -> Sequence[Sequence[Member]]:
    """The members that the request may be sent to, those to prefer first; each group by itself is not empty.

    Where conditions of members hold, those come before the members without one.
    """
    members: Sequence[Member] = pool.members
    if ctx.sensitive or ctx.identity.tenant in ctx.table.bounded:
        members = [member for member in members if permitted(ctx, member.target)]
    if pool.selective:
        traits = _traits(ctx, request)
        able = [member for member in members if traits.taken_by(member.target.accepts)]
        meant = [member for member in able if member.when is not None and traits.meet(member.when)]
        members = [member for member in able if member.when is None]
        if meant:
            return (meant, members) if members else (meant,)
    return (members,) if members else ()


def refuse_forbidden(ctx: RequestContext, plan: ModelPlan) -> None:
    """Refuse a request that a stage of its model has no deployment for that it may be sent to.

    Raises:
        Forbidden: they are not for this tenant, or not for what guardrails found.
    """
    if not ctx.sensitive and ctx.identity.tenant not in ctx.table.bounded:
        return
    for stage in plan.stages:
        targets = stage.pool.targets
        if any(permitted(ctx, target) for target in targets):
            continue
        if not any(ctx.table.permits(ctx.identity.tenant, target) for target in targets):
            raise Forbidden(
                f"the model {plan.name!r} has no deployment that this tenant's requests may be sent to: "
                "its residency and tags are elsewhere",
                code="deployment_not_allowed",
                param="model",
            )
        raise Forbidden(
            f"guardrails found {ctx.sensitive} in this request, and the model {plan.name!r} has no internal "
            "deployment that may get it: take it out, or name a model that has one",
            code="sensitive_data",
            param="model",
        )


def refuse_unservable(ctx: RequestContext, plan: ModelPlan, request: GenerateRequest | None) -> None:
    """Refuse a request that a stage of its model has no deployment for, before anything is asked.

    Raises:
        Forbidden: as `refuse_forbidden`.
        BadInput: no condition of a deployment holds.
    """
    refuse_forbidden(ctx, plan)
    if plan.selective and not all(eligible(ctx, stage.pool, request) for stage in plan.stages):
        raise BadInput(
            f"the model {plan.name!r} has no deployment for such a request: none of their conditions hold",
            code="model_not_supported",
            param="model",
        )


def _traits(ctx: RequestContext, request: GenerateRequest | None) -> Traits:
    if ctx.traits is None:
        ctx.traits = Traits(0) if request is None else traits_of(request, ctx.metadata)
    return ctx.traits
