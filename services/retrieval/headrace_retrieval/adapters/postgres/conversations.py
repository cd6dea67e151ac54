"""Conversations and their turns."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_retrieval.adapters.postgres.session import Database, columns
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.people import Conversation, Said

_COLUMNS = "id, length, summary, summarised, updated_at"
_TURN = "number, role, text, tokens, at"


class PostgresConversations:
    """`ConversationStore` on PostgreSQL. Row-level security shows a transaction one person's rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, tenant: str, collection: Collection, person: str, id: str, turns: Sequence[tuple[str, str, int]]
    ) -> None:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            # The row is locked from here on, so numbers come in the order of commits.
            cursor = await connection.execute(
                """
                INSERT INTO conversations AS c (collection_id, person, id, length) VALUES (%s, %s, %s, %s)
                ON CONFLICT (collection_id, person, id) DO UPDATE
                    SET length = c.length + excluded.length, updated_at = now()
                RETURNING length
                """,
                [collection.id, person, id, len(turns)],
            )
            row = await cursor.fetchone()
            assert row is not None
            await connection.execute(
                """
                INSERT INTO turns (collection_id, person, conversation, number, role, text, tokens)
                SELECT %s, %s, %s, %s + u.position, u.role, u.text, u.tokens
                FROM unnest(%s::text[], %s::text[], %s::int[]) WITH ORDINALITY AS u (role, text, tokens, position)
                """,
                [collection.id, person, id, row[0] - len(turns), *columns(turns, 3)],
            )

    async def get(self, tenant: str, collection: Collection, person: str, id: str) -> Conversation | None:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM conversations WHERE collection_id = %s AND person = %s AND id = %s",  # noqa: S608
                [collection.id, person, id],
            )
            row = await cursor.fetchone()
        return Conversation(*row) if row else None

    async def newest(
        self, tenant: str, collection: Collection, person: str, id: str, after: int, tokens: int
    ) -> list[Said]:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                f"""
                SELECT {_TURN} FROM (
                    SELECT {_TURN}, sum(tokens) OVER (ORDER BY number DESC) AS total FROM turns
                    WHERE collection_id = %s AND person = %s AND conversation = %s AND number > %s) AS t
                WHERE total <= %s ORDER BY number DESC
                """,  # noqa: S608  (a constant)
                [collection.id, person, id, after, tokens],
            )
            return [Said(*row) for row in await cursor.fetchall()]

    async def after(self, tenant: str, collection: Collection, person: str, id: str, number: int) -> list[Said]:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                f"""
                SELECT {_TURN} FROM turns
                WHERE collection_id = %s AND person = %s AND conversation = %s AND number > %s ORDER BY number
                """,  # noqa: S608  (a constant)
                [collection.id, person, id, number],
            )
            return [Said(*row) for row in await cursor.fetchall()]

    async def sum_up(
        self, tenant: str, collection: Collection, person: str, id: str, before: int, upto: int, summary: str
    ) -> bool:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                """
                UPDATE conversations SET summary = %s, summarised = %s
                WHERE collection_id = %s AND person = %s AND id = %s AND summarised = %s
                """,
                [summary, upto, collection.id, person, id, before],
            )
            return cursor.rowcount == 1

    async def page(
        self, tenant: str, collection: Collection, person: str, after: str, limit: int
    ) -> list[Conversation]:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                f"""
                SELECT {_COLUMNS} FROM conversations WHERE collection_id = %s AND person = %s AND id > %s
                ORDER BY id LIMIT %s
                """,  # noqa: S608  (a constant)
                [collection.id, person, after, limit],
            )
            return [Conversation(*row) for row in await cursor.fetchall()]

    async def delete(self, tenant: str, collection: Collection, person: str, id: str) -> bool:
        """See the port."""
        async with self._database.remembering(tenant, person) as connection:
            cursor = await connection.execute(
                "DELETE FROM conversations WHERE collection_id = %s AND person = %s AND id = %s",
                [collection.id, person, id],
            )
            return cursor.rowcount == 1
