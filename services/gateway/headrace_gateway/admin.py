"""What admins do, for both transports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from headrace_gateway.admission.identity import TENANT, TENANTS
from headrace_gateway.admission.keys import SCOPES, ApiKey, KeyLimits
from headrace_gateway.context import RequestContext
from headrace_kit.config.base import Duration
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput

_NAME_CHARS = 128
_MOST_OVERLAP_S = 90 * 86_400
_MOST = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000_000, "concurrent_requests": 1_000_000}
_duration: TypeAdapter[float] = TypeAdapter(Duration)


class KeyStore(Protocol):
    """The record of keys."""

    async def create(
        self,
        tenant: str,
        name: str,
        scopes: frozenset[str],
        expires_at: datetime | None,
        limits: KeyLimits | None,
        by: str,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret. Raises NotReady."""
        ...

    async def list(self, tenant: str | None) -> list[ApiKey]:
        """Keys of a tenant, or all, newest first. Raises NotReady."""
        ...

    async def rotate(self, key_id: str, overlap_s: float, by: str) -> tuple[ApiKey, str]:
        """Give a key a new secret beside its old one for a while. Raises NotFound, Conflict, NotReady."""
        ...

    async def limit(self, key_id: str, limits: KeyLimits | None, by: str) -> ApiKey:
        """Give a key other limits, or none. Raises NotFound, Conflict, NotReady."""
        ...

    async def revoke(self, key_id: str, by: str) -> None:
        """End a key. Raises NotFound, NotReady."""
        ...


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as admins see it; times are RFC 3339, empty for never."""

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str
    revoked_at: str
    rotated_at: str = ""
    previous_until: str = ""
    limits: dict[str, int] = field(default_factory=dict)
    """Those that there are, by name."""


class KeyAdmin:
    """Makes, lists and revokes keys."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def create(
        self,
        ctx: RequestContext,
        tenant: str,
        name: str,
        scopes: Sequence[str],
        expires_at: str,
        limits: Mapping[str, int | None] | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key for a tenant. One that the config does not name may use every model.

        Raises:
            BadInput: a field is wrong.
            NotReady: the store is away.
        """
        if not TENANT.fullmatch(tenant):
            raise BadInput(TENANTS, param="tenant")
        if not name or len(name) > _NAME_CHARS or not name.isprintable():
            raise BadInput(f"a name is 1 to {_NAME_CHARS} printable characters", param="name")
        for scope in scopes:
            if scope not in SCOPES:
                raise BadInput(f"no scope {scope[:64]!r}{nearest(scope[:64], SCOPES)}", param="scopes")
        expiry = _expiry(expires_at) if expires_at else None
        by = ctx.identity.key_id
        return await self._store.create(tenant, name, frozenset(scopes), expiry, _limits(limits or {}), by)

    async def list(self, tenant: str | None) -> list[ApiKey]:
        """Keys of a tenant, or all, newest first. Raises NotReady."""
        if tenant is not None and not TENANT.fullmatch(tenant):
            return []
        return await self._store.list(tenant)

    async def rotate(self, ctx: RequestContext, key_id: str, overlap: str) -> tuple[ApiKey, str]:
        """Give a key a new secret; the old one is good for `overlap` more (a day by default, at most 90 days).

        Raises:
            BadInput: that is no duration.
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
            NotReady: the store is away.
        """
        overlap_s = _overlap(overlap or "1d")
        return await self._store.rotate(key_id, overlap_s, ctx.identity.key_id)

    async def limit(self, ctx: RequestContext, key_id: str, limits: Mapping[str, int | None]) -> ApiKey:
        """Give a key limits of its own in place of those it has; what is not named has none.

        Raises:
            BadInput: a limit is out of its range.
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
            NotReady: the store is away.
        """
        return await self._store.limit(key_id, _limits(limits), ctx.identity.key_id)

    async def revoke(self, ctx: RequestContext, key_id: str) -> None:
        """End a key everywhere within a second. Raises NotFound, NotReady."""
        await self._store.revoke(key_id, ctx.identity.key_id)

    @staticmethod
    def show(key: ApiKey) -> KeyInfo:
        """A key without its secret."""
        return KeyInfo(
            key.id,
            key.tenant,
            key.name,
            tuple(sorted(key.scopes)),
            _rfc3339(key.created_at),
            _rfc3339(key.expires_at),
            _rfc3339(key.revoked_at),
            _rfc3339(key.rotated_at),
            _rfc3339(key.previous_until) if key.previous is not None else "",
            {name: value for name, value in asdict(key.limits).items() if value} if key.limits is not None else {},
        )


def shown(key: ApiKey) -> dict[str, object]:
    """A key without its secret, as the audit table keeps it."""
    return {name: value for name, value in asdict(KeyAdmin.show(key)).items() if value and name != "id"}


def _limits(given: Mapping[str, int | None]) -> KeyLimits | None:
    for name, value in given.items():
        if value is not None and not 1 <= value <= _MOST[name]:
            raise BadInput(f"{name} is from 1 to {_MOST[name]}", param=f"limits.{name}")
    limits = KeyLimits(**given)
    return None if limits == KeyLimits() else limits


def _overlap(text: str) -> float:
    try:
        seconds = _duration.validate_python(text)
    except ValidationError as error:
        raise BadInput("overlap is a duration like 30m, 12h or 1d", param="overlap") from error
    if seconds > _MOST_OVERLAP_S:
        raise BadInput("overlap is at most 90d", param="overlap")
    return seconds


def _expiry(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            "expires_at is an RFC 3339 time, for example 2027-01-31T00:00:00Z", param="expires_at"
        ) from error
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if parsed <= datetime.now(UTC):
        raise BadInput("expires_at is in the past", param="expires_at")
    return parsed


def _rfc3339(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
