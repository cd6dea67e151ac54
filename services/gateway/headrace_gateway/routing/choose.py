"""Which deployment of a pool a try goes to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from weakref import WeakKeyDictionary

from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Choice
from headrace_gateway.routing.eligible import eligible
from headrace_gateway.routing.plan import Member, Pool, Target
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest


class PoolChooser:
    """Picks among the healthy deployments of a pool that a request may be sent to, by their weights.

    Args:
        healthy: whether a deployment may be asked now for a request.
    """

    def __init__(self, healthy: Callable[[RequestContext, Target], bool] = lambda _ctx, _target: True) -> None:
        self._healthy = healthy
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
        rest: Sequence[Member] = ()
        for group in eligible(ctx, pool, request):
            able = [member for member in group if member.target not in exclude and self._healthy(ctx, member.target)]
            fresh = [member for member in able if member.target not in tried]
            if fresh:
                return self._among(pool, fresh)
            rest = rest or able
        return self._among(pool, rest) if rest else None

    def _among(self, pool: Pool, members: Sequence[Member]) -> Choice:
        if len(members) == 1:
            return Choice(members[0].target, "only")
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
