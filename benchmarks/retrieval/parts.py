"""Where a search's time goes: each of its parts alone, by the clock and in CPU time of service and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from benchmarks.inference.processes import Trees
from benchmarks.retrieval import made, replica
from benchmarks.retrieval.times import Times, times
from headrace_retrieval.domain.rights import Caller

CANDIDATES, READ = 50, 15
"""Candidates of each way of searching, and passages that are read again: ten and those to spare."""


async def measured(one: replica.Replica, caller: Caller, data: made.Made, postgres: Trees) -> dict[str, Times]:
    """Times of each part, over all queries. What is left of a whole search is fusion and glue."""
    (collection,) = await one.collections.find(caller, ["made"], "collections")
    ids = [collection.index_id]
    found: list[list[UUID]] = []

    async def find(_: int) -> None:
        await one.collections.find(caller, ["made"], "collections")

    async def bm25(place: int) -> None:
        hits = await one.lexical.search(ids[0], data.queries[place], caller.readers, (), CANDIDATES)
        found.append([chunk for chunk, _ in hits[:READ]])

    async def view(place: int) -> None:
        async with one.passages.view(caller) as opened:
            await opened.nearest([], data.query_vectors[place].tobytes(), (), 1)

    async def vectors(place: int) -> None:
        async with one.passages.view(caller) as opened:
            await opened.nearest(ids, data.query_vectors[place].tobytes(), (), CANDIDATES)

    async def read(place: int) -> None:
        async with one.passages.view(caller) as opened:
            await opened.read(ids, found[place])

    parts = {"collections": find, "bm25": bm25, "a view of nothing": view, "view, vectors": vectors, "view, read": read}
    return {name: await _each(part, range(len(data.queries)), postgres) for name, part in parts.items()}


async def _each(part: Callable[[int], Awaitable[None]], places: Sequence[int], postgres: Trees) -> Times:
    took = []
    cpu, postgres_cpu = time.process_time(), postgres.cpu()
    for place in places:
        began = time.perf_counter()
        await part(place)
        took.append(time.perf_counter() - began)
    each = 1000 / len(places)
    spent, postgres_spent = time.process_time() - cpu, (postgres.cpu() - postgres_cpu).total_s
    return times(took, spent * each, postgres_spent * each)
