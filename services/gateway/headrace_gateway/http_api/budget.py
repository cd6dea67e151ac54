"""`GET /v1/budget`: what a team may spend, and what it has spent."""

from __future__ import annotations

from collections.abc import Mapping

from headrace_gateway.admission.door import Visit
from headrace_gateway.budgets.state import BudgetReader
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query
from headrace_gateway.http_api.router import Route
from headrace_gateway.outcome import usd

_KNOWN = frozenset({"tenant"})


class BudgetApi:
    """A team's own budgets and limits; an admin may name another team."""

    def __init__(self, reader: BudgetReader) -> None:
        self._reader = reader

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("GET", "/v1/budget", self.get, query=_KNOWN)]

    async def get(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Budgets and limits as they are now."""
        state = await self._reader.read(visit.ctx, query(request.query, _KNOWN).get("tenant", ""))
        limits = state.limits
        budgets = [
            {
                "per": budget.per,
                "budget_usd": usd(budget.limit),
                "spent_usd": usd(budget.spent),
                "reserved_usd": usd(budget.reserved),
                "remaining_usd": usd(budget.remaining),
                "resets_at": budget.resets_at,
                "current": budget.current,
            }
            for budget in state.budgets
        ]
        shown = {
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "concurrent_requests": limits.concurrent_requests,
        }
        return json_response({"tenant": state.tenant, "budgets": budgets, "limits": shown}, visit.ctx)
