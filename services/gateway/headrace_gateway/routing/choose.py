"""Which deployment of a pool a try goes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from weakref import WeakKeyDictionary

from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Choice
from headrace_gateway.routing.affinity import bounded, key_of, ranked
from headrace_gateway.routing.eligible import eligible, permitted
from headrace_gateway.routing.load import LoadBook
from headrace_gateway.routing.plan import Member, Pool, Target
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_LOOK_AGAIN = 0.05
"""Share of the requests for which a deployment that was not asked lately is asked although it seems slower."""


class PoolChooser:
    """Picks among the healthy deployments of a pool that a request may be sent to.

    Args:
        healthy: whether a deployment may be asked now for a request.
        loads: how busy deployments are.
        chosen: hears of each choice among several: model, deployment, reason.
        draw: draws pairs of deployments.
    """

    def __init__(
        self,
        healthy: Callable[[RequestContext, Target], bool] = lambda _ctx, _target: True,
        loads: LoadBook | None = None,
        chosen: Callable[[str, str, str], None] = lambda _model, _deployment, _why: None,
        draw: random.Random | None = None,
    ) -> None:
        self._healthy, self._chosen = healthy, chosen
        self._loads = loads or LoadBook()
        self._draw = draw or random.Random()  # noqa: S311
        self._rounds: WeakKeyDictionary[Pool, dict[Member, int]] = WeakKeyDictionary()

    def choose(
        self,
        ctx: RequestContext,
        pool: Pool,
        request: GenerateRequest | None,
        tried: Collection[Target] = (),
        exclude: Collection[Target] = (),
    ) -> Choice | None:
        """See `Chooser`."""
        if len(pool.members) == 1 and not pool.selective:
            target = pool.members[0].target
            if target in exclude or not permitted(ctx, target) or not self._healthy(ctx, target):
                return None
            return Choice(target, "only")
        rest: Sequence[Member] = ()
        for group in eligible(ctx, pool, request):
            able = [member for member in group if member.target not in exclude and self._healthy(ctx, member.target)]
            fresh = [member for member in able if member.target not in tried]
            if fresh:
                return self._among(ctx, pool, fresh, request)
            rest = rest or able
        return self._among(ctx, pool, rest, request) if rest else None

    def _among(
        self, ctx: RequestContext, pool: Pool, members: Sequence[Member], request: GenerateRequest | None
    ) -> Choice:
        if len(members) == 1:
            choice = Choice(members[0].target, "only")
        else:
            choice = self._by_policy(ctx, pool, members, request)
        if len(pool.members) > 1:
            self._chosen(ctx.plan.name if ctx.plan else "", choice.target.name, choice.why)
        return choice

    def _by_policy(
        self, ctx: RequestContext, pool: Pool, members: Sequence[Member], request: GenerateRequest | None
    ) -> Choice:
        routing = pool.routing
        if routing.choose == "weighted" and routing.affinity == "none":
            return Choice(self._by_weight(pool, members), "weight")
        self._loads.use()
        members = [member for member in members if self._loads.ready(member.target.name)] or members
        if routing.affinity != "none" and request is not None and (key := key_of(ctx, request, routing.affinity)):
            order = ranked(key, members)
            member = bounded(order, routing.spill, self._loads.in_flight, self._loads.slots)
            return Choice(member.target, routing.affinity if member is order[0] else "spill")
        if routing.choose == "least_finish_time":
            return Choice(self._soonest(members, request), "finish")
        return Choice(self._by_weight(pool, members), "weight")

    def _by_weight(self, pool: Pool, members: Sequence[Member]) -> Target:
        """Smooth weighted round robin, as nginx has it: exact over every round, and evenly spread within it."""
        credits = self._rounds.setdefault(pool, {})
        total = 0
        best, most = members[0], None
        for member in members:
            credit = credits[member] = credits.get(member, 0) + member.weight
            total += member.weight
            if most is None or credit > most:
                best, most = member, credit
        credits[best] -= total
        return best.target

    def _soonest(self, members: Sequence[Member], request: GenerateRequest | None) -> Target:
        """Of two drawn by weight the one that finishes first (Mitzenmacher, 2001): it needs no fresh view of all, and
        many gateways with the same stale reports do not all choose the same one.

        A pace that nobody knows yet is taken to be the other's.
        """
        one, other = self._pair(members)
        sampling = request.sampling if request is not None else None
        at_most = sampling.max_tokens if sampling is not None and sampling.HasField("max_tokens") else 0
        mine, theirs = (self._loads.finish_ms(member.target.name, at_most) for member in (one, other))
        if mine is None or theirs is None or mine == theirs:
            loads = [self._loads.in_flight(member.target.name) / member.weight for member in (one, other)]
            return (one if loads[0] <= loads[1] else other).target
        sooner, later = (one, other) if mine < theirs else (other, one)
        # Who was slow once, on its first answer say, would never be asked again, and nobody would learn that it is not.
        if self._loads.aged(later.target.name) and self._draw.random() < _LOOK_AGAIN:
            return later.target
        return sooner.target

    def _pair(self, members: Sequence[Member]) -> tuple[Member, Member]:
        if len(members) <= 2:
            return members[0], members[-1]
        one = self._draw.choices(members, [member.weight for member in members])[0]
        rest = [member for member in members if member is not one]
        return one, self._draw.choices(rest, [member.weight for member in rest])[0]
