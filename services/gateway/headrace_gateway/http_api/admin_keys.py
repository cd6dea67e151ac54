"""`/v1/admin/keys`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admin import KeyAdmin, KeyInfo
from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, query
from headrace_gateway.http_api.router import Route

_MAX_BODY = 65_536


class LimitsOfKey(Struct, forbid_unknown_fields=True):
    """Limits of a key; what is left out has none."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class NewKey(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/keys`."""

    tenant: str
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    scopes: list[str] = []
    expires_at: str | None = None
    limits: LimitsOfKey | None = None


class Rotation(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/keys/{id}:rotate`; `overlap` is how long the old secret stays good, `1d` by default."""

    overlap: str = ""


class NewLimits(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/keys/{id}:limit`."""

    limits: LimitsOfKey | None


_LIST = frozenset({"tenant"})
_new_key = msgspec.json.Decoder(NewKey)
_rotation = msgspec.json.Decoder(Rotation)
_new_limits = msgspec.json.Decoder(NewLimits)


class KeysApi:
    """Keys, for admins."""

    def __init__(self, admin: KeyAdmin) -> None:
        self._admin = admin

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("POST", "/v1/admin/keys", self.create, admin=True, body=NewKey),
            Route("GET", "/v1/admin/keys", self.list, admin=True, query=_LIST),
            Route("POST", "/v1/admin/keys/{id}:rotate", self.rotate, admin=True, body=Rotation),
            Route("POST", "/v1/admin/keys/{id}:limit", self.limit, admin=True, body=NewLimits),
            Route("DELETE", "/v1/admin/keys/{id}", self.revoke, admin=True),
        ]

    async def create(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Make a key; the answer is the only place where it is shown."""
        body = decode(_new_key, await request.body(_MAX_BODY))
        key, secret = await self._admin.create(
            visit.ctx, body.tenant, body.name, body.scopes, body.expires_at or "", _given(body.limits)
        )
        return json_response({"key": secret, **_shown(self._admin.show(key))}, visit.ctx, 201)

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """All keys, or those of `?tenant=`."""
        tenant = query(request.query, _LIST).get("tenant")
        keys = [_shown(self._admin.show(key)) for key in await self._admin.list(tenant)]
        return json_response({"object": "list", "data": keys}, visit.ctx)

    async def rotate(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Give a key a new secret, shown only now; the old one stays good for a while."""
        raw = await request.body(_MAX_BODY)
        overlap = decode(_rotation, raw).overlap if raw else ""
        key, secret = await self._admin.rotate(visit.ctx, parameters["id"], overlap)
        return json_response({"key": secret, **_shown(self._admin.show(key))}, visit.ctx)

    async def limit(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Give a key limits of its own in place of those it has, everywhere within a second; null: none."""
        body = decode(_new_limits, await request.body(_MAX_BODY))
        key = await self._admin.limit(visit.ctx, parameters["id"], _given(body.limits))
        return json_response(_shown(self._admin.show(key)), visit.ctx)

    async def revoke(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """End a key everywhere within a second."""
        await self._admin.revoke(visit.ctx, parameters["id"])
        return json_response({"id": parameters["id"], "revoked": True}, visit.ctx)


def _given(limits: LimitsOfKey | None) -> dict[str, int | None]:
    return {} if limits is None else msgspec.structs.asdict(limits)


def _shown(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "tenant": info.tenant,
        "name": info.name,
        "scopes": list(info.scopes),
        "created_at": info.created_at,
        "expires_at": info.expires_at or None,
        "revoked_at": info.revoked_at or None,
        "rotated_at": info.rotated_at or None,
        "previous_until": info.previous_until or None,
        "limits": info.limits or None,
    }
