"""API keys in PostgreSQL, and the loop that keeps the key ring up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from datetime import datetime
from typing import Any

import psycopg
import uuid_utils

from headrace_gateway.adapters.postgres_audit import note
from headrace_gateway.admin import shown
from headrace_gateway.admission.keys import ApiKey, KeyLimits, KeyRing, digest_of, new_secret
from headrace_gateway.audit import Entry
from headrace_kit.ending import end
from headrace_kit.errors import Conflict, HeadraceError, NotFound, NotReady
from headrace_kit.stores.postgres import Connection, Postgres

_log = logging.getLogger(__name__)
REFRESH_S = 0.4
_LEARN_S = 0.05
"""Between two looks for keys that callers have and nobody here knows: anyone can send such keys."""
_LEARN_AT_MOST_S = 1.0
_COLUMNS = (
    "id, tenant, name, scopes, digest, created_at, expires_at, revoked_at, version, rotated_at, previous_digest, "
    "previous_until, requests_per_minute, tokens_per_minute, concurrent_requests"
)
# Versions come from a sequence; without the lock a later one could be visible before an earlier one.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('gateway.api_keys'))"


class PostgresKeys:
    """The record of all keys; every change reaches every replica within a second."""

    def __init__(self, store: Postgres, ring: KeyRing) -> None:
        self._store, self._ring = store, ring
        self._version = 0
        self._refreshing = asyncio.Lock()
        self._begun = 0.0
        self._task: asyncio.Task[None] | None = None
        ring.learn = self.learn

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no longer."""
        await end(self._task)

    async def create(
        self,
        tenant: str,
        name: str,
        scopes: frozenset[str],
        expires_at: datetime | None,
        limits: KeyLimits | None,
        by: str,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is kept nowhere. Raises NotReady."""
        secret = new_secret()
        async with self._store.transaction() as connection:
            await connection.execute(_LOCK)
            cursor = await connection.execute(
                "INSERT INTO gateway.api_keys (id, tenant, name, scopes, digest, expires_at, created_by, "  # noqa: S608
                "requests_per_minute, tokens_per_minute, concurrent_requests) "
                f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
                (
                    *(str(uuid_utils.uuid7()), tenant, name, sorted(scopes), digest_of(secret), expires_at, by),
                    *_written(limits),
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            key = _key(row)
            await note(connection, Entry(by, "key.created", tenant, key.id, None, shown(key)))
        self._ring.update([key])
        return key, secret

    async def rotate(self, key_id: str, overlap_s: float, by: str) -> tuple[ApiKey, str]:
        """Give a key a new secret; the old one is good for `overlap_s` seconds more. An older one ends now.

        Raises:
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
            NotReady: the store is away.
        """
        secret = new_secret()
        async with self._store.transaction() as connection:
            before = await self._locked(connection, key_id)
            if not before.usable(time.time()):
                raise Conflict("this key was revoked or has expired; make a new one", code="key_ended", param="id")
            cursor = await connection.execute(
                "UPDATE gateway.api_keys SET previous_digest = digest, digest = %s, rotated_at = now(), "  # noqa: S608
                "previous_until = now() + make_interval(secs => %s), version = nextval('gateway.api_keys_version') "
                f"WHERE id = %s RETURNING {_COLUMNS}",
                (digest_of(secret), overlap_s, before.id),
            )
            row = await cursor.fetchone()
            assert row is not None
            key = _key(row)
            await note(connection, Entry(by, "key.rotated", key.tenant, key.id, shown(before), shown(key)))
        self._ring.update([key])
        return key, secret

    async def limit(self, key_id: str, limits: KeyLimits | None, by: str) -> ApiKey:
        """Give a key other limits, or none. Raises NotFound, Conflict where it has ended, NotReady."""
        async with self._store.transaction() as connection:
            before = await self._locked(connection, key_id)
            if not before.usable(time.time()):
                raise Conflict("this key was revoked or has expired; make a new one", code="key_ended", param="id")
            cursor = await connection.execute(
                "UPDATE gateway.api_keys SET requests_per_minute = %s, tokens_per_minute = %s, "  # noqa: S608
                "concurrent_requests = %s, version = nextval('gateway.api_keys_version') "
                f"WHERE id = %s RETURNING {_COLUMNS}",
                (*_written(limits), before.id),
            )
            row = await cursor.fetchone()
            assert row is not None
            key = _key(row)
            await note(connection, Entry(by, "key.limited", key.tenant, key.id, shown(before), shown(key)))
        self._ring.update([key])
        return key

    async def _locked(self, connection: Connection, key_id: str) -> ApiKey:
        """A key that nobody else changes meanwhile. Raises NotFound."""
        try:
            parsed = uuid.UUID(key_id)
        except ValueError as error:
            raise NotFound(f"no key {key_id[:64]!r}", code="key_not_found", param="id") from error
        await connection.execute(_LOCK)
        cursor = await connection.execute(f"SELECT {_COLUMNS} FROM gateway.api_keys WHERE id = %s", (parsed,))  # noqa: S608
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"no key {key_id[:64]!r}", code="key_not_found", param="id")
        return _key(row)

    async def list(self, tenant: str | None) -> list[ApiKey]:
        """Keys of a tenant, or all; newest first. Raises NotReady."""
        where = "WHERE tenant = %s" if tenant else ""
        rows = await self._store.fetch(
            f"SELECT {_COLUMNS} FROM gateway.api_keys {where} ORDER BY created_at DESC, id DESC LIMIT 10000",  # noqa: S608
            *([tenant] if tenant else []),
        )
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str, by: str) -> None:
        """End a key everywhere. Raises NotFound, NotReady."""
        async with self._store.transaction() as connection:
            before = await self._locked(connection, key_id)
            cursor = await connection.execute(
                "UPDATE gateway.api_keys SET revoked_at = coalesce(revoked_at, now()), "  # noqa: S608
                "revoked_by = coalesce(revoked_by, %s), version = nextval('gateway.api_keys_version') "
                f"WHERE id = %s RETURNING {_COLUMNS}",
                (by, before.id),
            )
            row = await cursor.fetchone()
            assert row is not None
            key = _key(row)
            if before.revoked_at is None:
                await note(connection, Entry(by, "key.revoked", key.tenant, key.id, shown(before), shown(key)))
        self._ring.update([key])

    async def refresh(self) -> None:
        """Load what has changed since the last time. Raises NotReady."""
        async with self._refreshing:
            await self._refresh()

    async def learn(self) -> None:
        """Load what had changed when this was called, unless the store is away; one look serves all that wait."""
        wanted = time.monotonic()
        with contextlib.suppress(HeadraceError, psycopg.Error, TimeoutError):
            async with asyncio.timeout(_LEARN_AT_MOST_S), self._refreshing:
                if self._begun < wanted:
                    await asyncio.sleep(self._begun + _LEARN_S - time.monotonic())
                    await self._refresh()

    async def _refresh(self) -> None:
        self._begun = time.monotonic()
        rows = await self._store.fetch(
            f"SELECT {_COLUMNS} FROM gateway.api_keys WHERE version > %s ORDER BY version",  # noqa: S608
            self._version,
        )
        self._ring.update(_key(row) for row in rows)
        if rows:
            self._version = rows[-1][8]

    async def _follow(self) -> None:
        away = False
        while True:
            try:
                await self.refresh()
                away = False
            except (HeadraceError, psycopg.Error) as error:
                if not away:
                    reason = error.code if isinstance(error, NotReady) else type(error).__name__
                    _log.warning("keys cannot be refreshed, those in memory go on: %s", reason)
                away = True
            await asyncio.sleep(REFRESH_S)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=str(row[0]),
        tenant=row[1],
        name=row[2],
        scopes=frozenset(row[3]),
        digest=bytes(row[4]),
        created_at=row[5].timestamp(),
        expires_at=row[6].timestamp() if row[6] else None,
        revoked_at=row[7].timestamp() if row[7] else None,
        rotated_at=row[9].timestamp() if row[9] else None,
        previous=bytes(row[10]) if row[10] else None,
        previous_until=row[11].timestamp() if row[11] else 0.0,
        limits=KeyLimits(*row[12:15]) if any(row[12:15]) else None,
    )


def _written(limits: KeyLimits | None) -> tuple[int | None, int | None, int | None]:
    given = limits or KeyLimits()
    return given.requests_per_minute, given.tokens_per_minute, given.concurrent_requests
