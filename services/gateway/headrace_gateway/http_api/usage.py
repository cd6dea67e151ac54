"""`GET /v1/usage`, read from the ledger."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Mapping

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import headrace_headers, json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query
from headrace_gateway.http_api.router import Route
from headrace_gateway.ledger.usage import UsageQuery, UsageRow, read_query, tenant_of
from headrace_gateway.outcome import usd
from headrace_kit.errors import BadInput

CSV = ("content-type", "text/csv; charset=utf-8")
_KNOWN = frozenset({"group_by", "from", "to", "tenant", "format"})
_SUMS = (
    "requests", "input_tokens", "output_tokens", "cost_usd", "overhead_usd", "cache_hits", "saved_usd",
)  # fmt: skip


class UsageApi:
    """What a team used; an admin sees every team.

    Args:
        usage: asks the ledger.
    """

    def __init__(self, usage: Callable[[UsageQuery], Awaitable[list[UsageRow]]]) -> None:
        self._usage = usage

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("GET", "/v1/usage", self.get, query=_KNOWN)]

    async def get(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Sums by group, as JSON, or with `format=csv` as a table with a header line."""
        asked = query(request.query, _KNOWN)
        form = asked.get("format", "json")
        if form not in ("json", "csv"):
            raise BadInput("format is json or csv", param="format")
        tenant = tenant_of(visit.ctx.identity, asked.get("tenant"))
        wanted = read_query(asked.get("group_by", "day,model"), asked.get("from", ""), asked.get("to", ""), tenant)
        rows = [
            {
                **dict(zip(wanted.groups, row.keys, strict=True)),
                "requests": row.requests,
                "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens,
                "cost_usd": usd(row.cost_nano_usd),
                "overhead_usd": usd(row.overhead_nano_usd),
                "cache_hits": row.cache_hits,
                "saved_usd": usd(row.saved_nano_usd),
            }
            for row in await self._usage(wanted)
        ]
        if form == "csv":
            return Response(200, _csv([*wanted.groups, *_SUMS], rows), [CSV, *headrace_headers(visit.ctx)])
        return json_response({"object": "list", "data": rows}, visit.ctx)


def _csv(columns: list[str], rows: list[dict[str, object]]) -> bytes:
    """RFC 4180."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
