"""`GET /v1/admin/reconcile`: the ledger held against what engines counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query, whole_number
from headrace_gateway.http_api.router import Route
from headrace_gateway.ledger.holding import Difference, Held, LedgerRow, hold
from headrace_gateway.ledger.reconcile import Counts
from headrace_gateway.ledger.usage import UsageQuery, read_query
from headrace_gateway.outcome import usd
from headrace_kit.config.deployments import Price

_KNOWN = frozenset({"from", "to", "tenant", "limit"})
_MOST_SHOWN = 1000


class ReconcileApi:
    """For admins.

    Args:
        attempts: the newest rows of the ledger in a time.
        counts: inference.
        price: of a deployment, by the config in force.
    """

    def __init__(
        self,
        attempts: Callable[[UsageQuery, int], Awaitable[Sequence[LedgerRow]]],
        counts: Counts,
        price: Callable[[str], Price | None],
    ) -> None:
        self._attempts, self._counts, self._price = attempts, counts, price

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("GET", "/v1/admin/reconcile", self.get, admin=True, query=_KNOWN)]

    async def get(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """The newest attempts of a time, how many stand how, and those that differ."""
        asked = query(request.query, _KNOWN)
        limit = whole_number(asked, "limit", 10_000, 1, 50_000)
        wanted = read_query("", asked.get("from", ""), asked.get("to", ""), asked.get("tenant"))
        rows = await self._attempts(wanted, limit)
        report = await hold(rows, self._counts, self._price)
        body = {
            "from": wanted.start.isoformat(),
            "to": wanted.end.isoformat(),
            "attempts": len(rows),
            # More were there than were looked at.
            "cut": len(rows) == limit,
            "counts": {held.value: report.counts[held] for held in Held},
            "differences": [_difference(one) for one in report.differences[:_MOST_SHOWN]],
        }
        return json_response(body, visit.ctx)


def _difference(one: Difference) -> dict[str, object]:
    row = one.row
    return {
        "request_id": row.request_id,
        "stage": row.stage,
        "attempt": row.attempt,
        "trace_id": row.trace_id,
        "tenant": row.tenant,
        "deployment": row.deployment,
        "held": one.held.value,
        "error": row.error_code,
        "ledger": _side(row.input_tokens, row.cached_input_tokens, row.output_tokens, row.cost_nano_usd),
        "engine": _side(one.input_tokens, one.cached_input_tokens, one.output_tokens, one.cost_nano_usd),
    }


def _side(given: int, cached: int, made: int, cost_nano_usd: int | None) -> dict[str, object]:
    return {
        "input_tokens": given,
        "cached_input_tokens": cached,
        "output_tokens": made,
        "cost_usd": None if cost_nano_usd is None else usd(cost_nano_usd),
    }
