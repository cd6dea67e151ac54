"""Facts of people and their consents; erasing all of a person."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from headrace_kit.errors import Forbidden
from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.documents import note_documents, raise_epoch, take_in
from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.domain.model import Collection, NewDocument
from headrace_retrieval.domain.people import Erased, Fact, Remembered, fact_id

_EXPIRE_BATCH = 500


class PostgresMemories:
    """`MemoryStore` on PostgreSQL.

    Locks are taken in the order of documents (see `PostgresDocuments`), the consent before them: who keeps a fact
    shares it, who takes it back waits for them and then sees what they kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, tenant: str, collection: Collection, person: str) -> Remembered:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                """
                SELECT (SELECT granted_at FROM consents WHERE collection_id = %(c)s AND person = %(p)s),
                       (SELECT count(*) FROM documents WHERE collection_id = %(c)s AND person = %(p)s
                        AND (expires_at IS NULL OR expires_at > now())),
                       (SELECT count(*) FROM conversations WHERE collection_id = %(c)s AND person = %(p)s)
                """,
                {"c": collection.id, "p": person},
            )
            row = await cursor.fetchone()
        assert row is not None
        return Remembered(*row)

    async def consent(self, tenant: str, collection: Collection, person: str, granted: bool) -> int:
        """See the port."""
        async with self._database.remembering(tenant, person, whole=True) as connection:
            if granted:
                await connection.execute(
                    "INSERT INTO consents (collection_id, person) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    [collection.id, person],
                )
                return 0
            await connection.execute(
                "DELETE FROM consents WHERE collection_id = %s AND person = %s", [collection.id, person]
            )
            return await _erase_facts(connection, [collection.id], person)

    async def keep(self, tenant: str, collection: Collection, person: str, documents: Sequence[NewDocument]) -> UUID:
        """See the port."""
        async with self._database.remembering(tenant, person, whole=True) as connection:
            cursor = await connection.execute(
                "SELECT FROM consents WHERE collection_id = %s AND person = %s FOR KEY SHARE", [collection.id, person]
            )
            if await cursor.fetchone() is None:
                raise Forbidden(
                    "this user has not consented to facts being kept: note the consent first",
                    code="consent_missing",
                    param="user",
                )
            return await take_in(connection, tenant, collection, documents)

    async def facts(self, tenant: str, collection: Collection, person: str, after: str, limit: int) -> list[Fact]:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                """
                SELECT d.id, r.text, r.metadata, d.expires_at, d.published IS NOT NULL, d.updated_at
                FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
                WHERE d.collection_id = %s AND d.person = %s AND d.id > %s
                  AND (d.expires_at IS NULL OR d.expires_at > now())
                ORDER BY d.id LIMIT %s
                """,
                [collection.id, person, f"{person}/{after}", limit],
            )
            return [Fact(fact_id(id), *rest) for id, *rest in await cursor.fetchall()]

    async def forget(self, tenant: str, collection: Collection, person: str, document_id: str) -> bool:
        """See the port."""
        async with self._database.remembering(tenant, person, whole=True) as connection:
            return bool(await _erase_facts(connection, [collection.id], person, document_id))

    async def erase(self, tenant: str, person: str) -> Erased:
        """See the port. Collections that were deleted count too: their rows are removed in the background only."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                "SELECT id FROM collections WHERE tenant = %s AND kind = 'memory' ORDER BY id", [tenant]
            )
            ids = [id for (id,) in await cursor.fetchall()]
            consents = await _delete(connection, "consents", ids, person)
            facts = await _erase_facts(connection, ids, person)
            turns = await _delete(connection, "turns", ids, person)
            conversations = await _delete(connection, "conversations", ids, person)
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT (SELECT count(*) FROM documents WHERE collection_id = ANY(%(c)s) AND person = %(p)s)
                     + (SELECT count(*) FROM conversations WHERE collection_id = ANY(%(c)s) AND person = %(p)s)
                     + (SELECT count(*) FROM turns WHERE collection_id = ANY(%(c)s) AND person = %(p)s)
                     + (SELECT count(*) FROM consents WHERE collection_id = ANY(%(c)s) AND person = %(p)s)
                     + (SELECT count(*) FROM job_items t JOIN jobs j ON j.id = t.job_id
                        WHERE j.collection_id = ANY(%(c)s) AND starts_with(t.document_id, %(p)s || '/'))
                """,
                {"c": ids, "p": person},
            )
            row = await cursor.fetchone()
        return Erased(facts, conversations, turns, consents, row[0] if row else 0)

    async def expire(self, conversation_s: float) -> int:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT pk, collection_id FROM documents WHERE expires_at <= now()
                ORDER BY collection_id, id LIMIT %s FOR UPDATE
                """,
                [_EXPIRE_BATCH],
            )
            gone = [(collection, pk) for pk, collection in await cursor.fetchall()]
            await _remove(connection, gone)
            cursor = await connection.execute(
                """
                DELETE FROM conversations WHERE (collection_id, person, id) IN (
                    SELECT collection_id, person, id FROM conversations
                    WHERE updated_at < now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED)
                """,
                [conversation_s, _EXPIRE_BATCH],
            )
            return len(gone) + cursor.rowcount


async def _erase_facts(connection: Connection, collections: Sequence[UUID], person: str, id: str = "") -> int:
    """Remove a person's facts, or the one that is the document `id`, and what the queue knows of them."""
    cursor = await connection.execute(
        """
        SELECT pk, collection_id FROM documents
        WHERE collection_id = ANY(%s) AND person = %s AND (%s = '' OR id = %s)
        ORDER BY collection_id, id FOR UPDATE
        """,
        [list(collections), person, id, id],
    )
    gone = [(collection, pk) for pk, collection in await cursor.fetchall()]
    await connection.execute(
        """
        DELETE FROM job_items t USING jobs j
        WHERE j.id = t.job_id AND j.collection_id = ANY(%s)
          AND CASE WHEN %s = '' THEN starts_with(t.document_id, %s || '/') ELSE t.document_id = %s END
        """,
        [list(collections), id, person, id],
    )
    await _remove(connection, gone)
    return len(gone)


async def _remove(connection: Connection, gone: Sequence[tuple[UUID, int]]) -> None:
    if gone:
        await connection.execute("DELETE FROM documents WHERE pk = ANY(%s)", [[pk for _, pk in gone]])
        await raise_epoch(connection, [collection for collection, _ in gone])
        await note_documents(connection, gone)


async def _delete(connection: Connection, table: str, collections: Sequence[UUID], person: str) -> int:
    cursor = await connection.execute(
        f"DELETE FROM {table} WHERE collection_id = ANY(%s) AND person = %s",  # noqa: S608  (our own names)
        [list(collections), person],
    )
    return cursor.rowcount
