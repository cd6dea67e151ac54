"""`GET /v1/admin/audit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace_gateway.admission.door import Visit
from headrace_gateway.audit import AuditReader, Noted
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query, whole_number
from headrace_gateway.http_api.router import Route

_KNOWN = frozenset({"tenant", "action", "before", "limit"})


class AuditApi:
    """Who changed what, for admins."""

    def __init__(self, audit: AuditReader) -> None:
        self._audit = audit

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("GET", "/v1/admin/audit", self.list, admin=True, query=_KNOWN)]

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Entries, newest first; `before` is the id of the last one of the page before."""
        asked = query(request.query, _KNOWN)
        limit = whole_number(asked, "limit", 100, 1, 1000)
        found = await self._audit.list(
            visit.ctx, asked.get("tenant", ""), asked.get("action", ""), asked.get("before", ""), limit
        )
        return json_response({"object": "list", "data": [_shown(noted) for noted in found]}, visit.ctx)


def _shown(noted: Noted) -> dict[str, Any]:
    entry = noted.entry
    return {
        "id": noted.id,
        "at": noted.at.isoformat(timespec="milliseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "tenant": entry.tenant or None,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
    }
