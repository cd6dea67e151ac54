"""Storing, searching under rights, and recall of the graph, by number of passages; peers on the same data."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import numpy as np

from benchmarks.inference.processes import Trees
from benchmarks.retrieval import made, parts, peers, replica, serving
from benchmarks.retrieval.times import Times, times
from headrace_local.platform import Platform
from headrace_retrieval.adapters.postgres.queue import PostgresQueue
from headrace_retrieval.domain.model import Collection, CollectionSpec, IndexSpec, Mode, NewDocument, Query
from headrace_retrieval.domain.rights import Acl, Caller

QUERIES = 200
_A_CALL = 500
PEERS_UP_TO = 20_000
PARTS_OF = "61%"
"""The caller whose searches are taken apart."""

_WARM = 20


@dataclass(slots=True)
class Speed:
    """What was measured at one size. Recall is that of the graph at 10 against looking at each, by share of rights.

    `stored_a_second` is by the clock; the CPU milliseconds that a passage took, of the service and of PostgreSQL, say
    the same on a machine that others use too.
    """

    passages: int
    stored_a_second: float = 0.0
    stored_cpu_ms: float = 0.0
    stored_postgres_cpu_ms: float = 0.0
    graph_s: float = 0.0
    search: dict[str, Times] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    parts: dict[str, Times] = field(default_factory=dict)
    peers: dict[str, Times] = field(default_factory=dict)


def of(sizes: Sequence[int]) -> Iterator[Speed]:
    """Measure each size on a database of its own; each comes as soon as it is measured."""
    for size in sizes:
        data = made.make(size, QUERIES)
        with serving.platform([]) as platform:
            dsn = (platform.layout.secrets / "postgres-dsn").read_text().strip()
            speed = asyncio.run(_measure(dsn, data, _postgres(platform)))
        if peers.there() and size <= PEERS_UP_TO:
            speed.peers = _peers(data)
        yield speed


async def _measure(dsn: str, data: made.Made, postgres: Trees) -> Speed:
    async with replica.running(dsn) as one:
        speed = Speed(len(data.texts))
        one.models.vectors = {
            text: vector.tobytes()
            for texts, vectors in ((data.texts, data.vectors), (data.queries, data.query_vectors))
            for text, vector in zip(texts, vectors, strict=True)
        }
        spec = CollectionSpec(serving.TENANT, "made", True, (), IndexSpec("made", 256, 0))
        collection = await one.collections.create(spec)
        began, cpu, postgres_cpu = time.monotonic(), time.process_time(), postgres.cpu()
        await _store(one, collection, data)
        speed.stored_a_second = len(data.texts) / (time.monotonic() - began)
        each = 1000 / len(data.texts)
        speed.stored_cpu_ms = (time.process_time() - cpu) * each
        speed.stored_postgres_cpu_ms = (postgres.cpu() - postgres_cpu).total_s * each
        began = time.monotonic()
        await one.tender.step()
        speed.graph_s = time.monotonic() - began
        for name, caller in _callers().items():
            speed.search[name] = await _search(one, caller, data, postgres)
            speed.recall[name] = await _recall(one, caller, data)
        speed.parts = await parts.measured(one, _callers()[PARTS_OF], data, postgres)
        return speed


def _postgres(platform: Platform) -> Trees:
    """The server that the platform started: the first line of its lock file is its process."""
    return Trees((int((platform.layout.postgres / "postmaster.pid").read_text().splitlines()[0]),))


def _callers() -> dict[str, Caller]:
    return {
        "all": Caller(serving.TENANT, read_all=True),
        "61%": Caller(serving.TENANT, groups=(made.OPEN, made.RARE)),
        "1%": Caller(serving.TENANT, groups=(made.RARE,)),
    }


async def _store(one: replica.Replica, collection: Collection, data: made.Made) -> None:
    documents = [
        NewDocument(
            id=f"d{number}",
            text=text,
            title="",
            content_type="text/plain",
            metadata={},
            filter_terms=(),
            acl=Acl(groups=(group,)),
            content_hash=hashlib.sha256(text.encode()).digest(),
        )
        for number, (text, group) in enumerate(zip(data.texts, data.groups, strict=True))
    ]
    for at in range(0, len(documents), _A_CALL):
        await one.documents.accept(serving.TENANT, collection, documents[at : at + _A_CALL])
        one.worker.wake()
    # The queue is empty when all is published; then the replica reads what it has not yet.
    queue = PostgresQueue(one.database)
    while await queue.waiting():
        one.worker.wake()
        await asyncio.sleep(0.1)
    await one.follower.caught_up()


async def _search(one: replica.Replica, caller: Caller, data: made.Made, postgres: Trees) -> Times:
    async def ask(text: str) -> float:
        began = time.perf_counter()
        found = await one.search(caller, Query(("made",), text, 10, Mode.HYBRID, rerank=False))
        took = time.perf_counter() - began
        if not found.hits or found.degraded:
            raise RuntimeError(f"a search found nothing, or did without {set(found.degraded)}")
        return took

    for text in data.queries[:_WARM]:
        await ask(text)
    cpu, postgres_cpu = time.process_time(), postgres.cpu()
    took = [await ask(text) for text in data.queries]
    spent, postgres_spent = time.process_time() - cpu, (postgres.cpu() - postgres_cpu).total_s
    each = 1000 / len(data.queries)
    return times(took, spent * each, postgres_spent * each)


async def _recall(one: replica.Replica, caller: Caller, data: made.Made) -> float:
    (collection,) = await one.collections.find(caller, ["made"], "collections")
    ids, hits, wanted = [collection.index_id], 0, 0
    for vector in data.query_vectors[:100]:
        async with one.passages.view(caller) as view:
            exact = _ids(await view.nearest(ids, vector.tobytes(), (), 50, ids))[:10]
            graph = _ids(await view.nearest(ids, vector.tobytes(), (), 50))[:10]
        hits += len(set(exact) & set(graph))
        wanted += len(exact)
    return hits / wanted


def _ids(found: Sequence[tuple[UUID, float]]) -> list[UUID]:
    return [chunk for chunk, _ in found]


def _peers(data: made.Made) -> dict[str, Times]:
    """Each peer's hybrid search of the same texts and vectors, filtered by the group that may read most."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        file = Path(name) / "vectors.npz"
        np.savez(file, vectors=data.vectors, queries=data.query_vectors)
        asked = {
            "folder": name,
            "vectors": str(file),
            "texts": data.texts,
            "groups": data.groups,
            "queries": data.queries[:50],
            "group": made.OPEN,
        }
        return {peer: times(peers.run(peer, asked)) for peer in ("lancedb", "qdrant")}
