"""Collections and their index versions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace_kit.errors import NotFound
from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import Database, become_system
from headrace_retrieval.domain.model import Collection, CollectionSpec, IndexSpec, IndexVersion
from headrace_retrieval.domain.rights import Caller, readers_of

SELECT = """
SELECT c.id, c.tenant, c.name, c.acl = 'required', c.shared_with, c.kind, c.source, c.epoch, c.created_at,
       i.id, i.embedding, i.max_tokens, i.overlap_tokens, i.dimensions, i.mean
FROM collections c JOIN indexes i ON i.collection_id = c.id AND i.state = 'active'
WHERE c.deleted_at IS NULL
"""
_SYNC_LOCK = 7021932482
_log = logging.getLogger(__name__)


class PostgresCollections:
    """`CollectionStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, spec: CollectionSpec) -> Collection:
        """See the port."""
        async with self._database.writing(spec.tenant) as connection:
            await _insert(connection, spec, "api")
            found = await _select(connection, "AND c.tenant = %s AND c.name = %s", spec.tenant, spec.name)
            return found[0]

    async def named(self, caller: Caller, names: Sequence[str]) -> list[Collection]:
        """See the port."""
        return await self._read(caller, "AND c.name = ANY(%s)", list(names))

    async def visible(self, caller: Caller) -> list[Collection]:
        """See the port."""
        return await self._read(caller, "ORDER BY c.tenant, c.name")

    async def _read(self, caller: Caller, condition: str, *args: Any) -> list[Collection]:
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(SELECT + condition, args)
        # Fetched when all has come in one go, the end of the transaction with it: each search begins with this.
        return [collection_of(row) for row in await cursor.fetchall()]

    async def delete(self, collection: Collection) -> None:
        """See the port."""
        async with self._database.writing(collection.spec.tenant) as connection:
            found = await _select(connection, "AND c.id = %s FOR UPDATE OF c", collection.id)
            if found:
                # The tenant's own policies would refuse a row that the tenant cannot see afterwards.
                await become_system(connection)
                await connection.execute(
                    "UPDATE collections SET deleted_at = now(), epoch = nextval('epochs') WHERE id = %s",
                    [collection.id],
                )
                await note_index(connection, collection.id)

    async def versions(self, collection: Collection) -> list[IndexVersion]:
        """See the port."""
        async with self._database.reading(Caller(collection.spec.tenant)) as connection:
            cursor = await connection.execute(
                """
                SELECT embedding, max_tokens, overlap_tokens, state = 'building' AS building, job_id, created_at
                FROM indexes WHERE collection_id = %s ORDER BY building
                """,
                [collection.id],
            )
            return [IndexVersion(IndexSpec(*row[:3]), *row[3:]) for row in await cursor.fetchall()]

    async def build(self, collection: Collection, wanted: IndexSpec, *, again: bool) -> UUID | None:
        """See the port."""
        async with self._database.system() as connection:
            existing = await _locked(connection, collection)
            building = await _building(connection, existing.id)
            if building and building.spec == wanted and building.job is not None:
                return building.job
            if existing.spec.index == wanted and not again:
                return None
            await _give_up(connection, building)
            return await _build(connection, existing, wanted)

    async def cancel(self, collection: Collection) -> bool:
        """See the port."""
        async with self._database.system() as connection:
            existing = await _locked(connection, collection)
            building = await _building(connection, existing.id)
            await _give_up(connection, building)
            return building is not None

    async def sync(self, wanted: Sequence[CollectionSpec]) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SYNC_LOCK])
            there = {(found.spec.tenant, found.spec.name): found for found in await _select(connection, "")}
            for spec in wanted:
                existing = there.pop((spec.tenant, spec.name), None)
                if existing is None:
                    await _insert(connection, spec, "config")
                else:
                    await _change(connection, existing, spec)
            gone = [existing.id for existing in there.values() if existing.source == "config"]
            await connection.execute("UPDATE collections SET source = 'api' WHERE id = ANY(%s)", [gone])


async def note_index(connection: Connection, collection_id: UUID) -> None:
    """Tell every replica to read all indexes of a collection again."""
    await connection.execute(
        "INSERT INTO outbox (collection_id, index_id) SELECT collection_id, id FROM indexes WHERE collection_id = %s",
        [collection_id],
    )


async def _select(connection: Connection, condition: str, *args: Any) -> list[Collection]:
    cursor = await connection.execute(SELECT + condition, args)
    return [collection_of(row) for row in await cursor.fetchall()]


def collection_of(row: Sequence[Any]) -> Collection:
    id, tenant, name, acl_required, shared_with, kind, source, epoch, created_at, index_id, *index, dimensions, mean = (
        row
    )
    spec = CollectionSpec(tenant, name, acl_required, tuple(shared_with), IndexSpec(*index), kind)
    return Collection(id, spec, source, epoch, created_at, index_id, dimensions, mean)


async def _insert(connection: Connection, spec: CollectionSpec, source: str) -> None:
    id = uuid7()
    cursor = await connection.execute(
        """
        INSERT INTO collections (id, tenant, name, acl, shared_with, source, kind) VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant, name) WHERE deleted_at IS NULL DO NOTHING
        """,
        [id, spec.tenant, spec.name, _acl(spec), list(spec.shared_with), source, spec.kind],
    )
    if cursor.rowcount:
        await _insert_index(connection, id, spec.index, "active")


async def _insert_index(
    connection: Connection, collection_id: UUID, spec: IndexSpec, state: str, job: UUID | None = None
) -> None:
    await connection.execute(
        """
        INSERT INTO indexes (collection_id, embedding, max_tokens, overlap_tokens, state, job_id)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        [collection_id, spec.embedding, spec.max_tokens, spec.overlap_tokens, state, job],
    )


async def _change(connection: Connection, existing: Collection, spec: CollectionSpec) -> None:
    old = existing.spec
    if old.kind != spec.kind:
        _log.warning(
            "the config changes what the collection %s is for (%s to %s), which it cannot: take it out of the config, "
            "delete it, and put it back",
            *(spec.name, old.kind, spec.kind),
        )
        return
    if existing.source != "config":
        await connection.execute("UPDATE collections SET source = 'config' WHERE id = %s", [existing.id])
    if old == spec and not await _building(connection, existing.id):
        return
    # Whoever stores documents holds a share of this lock, so none slips in under the old rules.
    await connection.execute("SELECT FROM collections WHERE id = %s FOR UPDATE", [existing.id])
    if (old.acl_required, old.shared_with) != (spec.acl_required, spec.shared_with):
        await connection.execute(
            "UPDATE collections SET acl = %s, shared_with = %s, epoch = nextval('epochs') WHERE id = %s",
            [_acl(spec), list(spec.shared_with), existing.id],
        )
    if old.acl_required != spec.acl_required:
        await _reopen(connection, existing.id, spec.acl_required)
    await _rebuild(connection, existing, spec.index)


async def _reopen(connection: Connection, collection_id: UUID, acl_required: bool) -> None:
    """Give the documents that came without an ACL the readers that the collection's new mode gives them.

    Text whose replacement waits is not opened: the replacement may be for fewer.
    """
    readers = sorted(readers_of(None, acl_required))
    await connection.execute(
        "UPDATE revisions SET readers = %s WHERE collection_id = %s AND acl IS NULL", [readers, collection_id]
    )
    shown = """SELECT d.pk FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
        WHERE d.collection_id = %s AND r.acl IS NULL AND (%s OR coalesce(d.published, d.latest) = d.latest)"""
    for table, key in (("documents", "pk"), ("chunks", "document_pk"), ("vectors", "document_pk")):
        await connection.execute(
            f"UPDATE {table} SET readers = %s WHERE {key} IN ({shown})",  # noqa: S608  (names from the line above)
            [readers, collection_id, acl_required],
        )
    await note_index(connection, collection_id)


@dataclass(frozen=True, slots=True)
class _Building:
    """An index version that is being built."""

    id: int
    job: UUID | None
    spec: IndexSpec


async def _locked(connection: Connection, collection: Collection) -> Collection:
    """The collection as it is now; nobody stores documents in it until the transaction ends. Raises NotFound."""
    found = await _select(connection, "AND c.id = %s FOR UPDATE OF c", collection.id)
    if not found:
        raise NotFound(f"there is no collection {collection.spec.name!r}", param="collection")
    # Again: an index version may have taken over while the lock was waited for.
    return (await _select(connection, "AND c.id = %s", collection.id))[0]


async def _building(connection: Connection, collection_id: UUID) -> _Building | None:
    cursor = await connection.execute(
        """
        SELECT id, job_id, embedding, max_tokens, overlap_tokens FROM indexes
        WHERE collection_id = %s AND state = 'building'
        """,
        [collection_id],
    )
    row = await cursor.fetchone()
    return _Building(row[0], row[1], IndexSpec(*row[2:])) if row else None


async def _rebuild(connection: Connection, existing: Collection, wanted: IndexSpec) -> None:
    """Build another index version, unless the active one, or the one being built, is as wanted."""
    building = await _building(connection, existing.id)
    if building and building.spec == wanted:
        return
    await _give_up(connection, building)
    if existing.spec.index != wanted:
        await _build(connection, existing, wanted)


async def _give_up(connection: Connection, building: _Building | None) -> None:
    if building:
        await connection.execute("DELETE FROM job_items WHERE index_id = %s AND state <> 'done'", [building.id])
        await connection.execute("DELETE FROM indexes WHERE id = %s", [building.id])


async def _build(connection: Connection, existing: Collection, wanted: IndexSpec) -> UUID:
    """Begin to build an index version; returns the job."""
    job = uuid7()
    await connection.execute(
        "INSERT INTO jobs (id, tenant, collection_id, kind) VALUES (%s, %s, %s, 'reindex')",
        [job, existing.spec.tenant, existing.id],
    )
    await _insert_index(connection, existing.id, wanted, "building", job)
    await connection.execute(
        """
        INSERT INTO job_items (job_id, tenant, collection_id, document_id, revision_id, index_id)
        SELECT %s, %s, d.collection_id, d.id, d.latest, i.id
        FROM documents d JOIN indexes i ON i.collection_id = d.collection_id AND i.state = 'building'
        WHERE d.collection_id = %s ORDER BY d.id
        """,
        [job, existing.spec.tenant, existing.id],
    )
    return job


def _acl(spec: CollectionSpec) -> str:
    return "required" if spec.acl_required else "none"
