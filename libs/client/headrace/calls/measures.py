"""Sums over traces, comparisons, conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.calls._base import Calls
from headrace.types.measures import Comparison, Measured, SessionPage

Filter = str | float | bool | None
"""Of a query parameter of `GET /v1/traces`."""


class MeasureCalls(Calls):
    """Your team's requests, summed up; for admins those of all. Filters are those of `AsyncHeadrace.traces`."""

    async def measure(
        self, /, *, group_by: Sequence[str] = (), bucket_s: int = 0, limit: int | None = None, **filters: Filter
    ) -> Measured:
        """Requests, errors, times, tokens and cost, by group and time.

        Args:
            group_by: at most 4 of tenant, model, deployment, arm, status, operation, cache, error, provider,
                config_hash, rollout, key_id, session, user, name.
            bucket_s: seconds of a span of time, 60 to 2678400; 0: all is one.
            limit: most rows, 1 to 10000; by default 1000.
            filters: with `from` and `to`, RFC 3339; by default the last day.

        Raises:
            BadRequest: a name or a value is none of these; it says which.
        """
        query = {"group_by": ",".join(group_by), "bucket_s": bucket_s, "limit": limit, **filters}
        return await self._http.call("GET", "/v1/analytics", Measured, query=query)

    async def compare(self, a: Mapping[str, Filter], b: Mapping[str, Filter], /, **filters: Filter) -> Comparison:
        """Two sets of requests side by side: two arms, two models, two weeks.

        Args:
            a: filters of one side, for example `{"arm": "baseline"}` or `{"from": ..., "to": ...}`.
            b: filters of the other.
            filters: of both; a side's own replace these.

        Raises:
            BadRequest: a name or a value is none of a filter; it says which.
        """
        sides = {f"{side}_{name}": value for side, of in (("a", a), ("b", b)) for name, value in of.items()}
        return await self._http.call("GET", "/v1/analytics/compare", Comparison, query={**filters, **sides})

    async def sessions(
        self, /, *, limit: int | None = None, page_token: str | None = None, **filters: Filter
    ) -> SessionPage:
        """Conversations with a request that the filters mean, newest first; `limit` from 1 to 1000."""
        query = {"limit": limit, "page_token": page_token, **filters}
        return await self._http.call("GET", "/v1/sessions", SessionPage, query=query)
