"""The parts of a retrieval replica, wired as the service wires them, with vectors that are known before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_kit.stores.postgres import Postgres
from headrace_retrieval.adapters.postgres.collections import PostgresCollections
from headrace_retrieval.adapters.postgres.documents import PostgresDocuments
from headrace_retrieval.adapters.postgres.feed import PostgresFeed
from headrace_retrieval.adapters.postgres.graphs import PostgresGraphs
from headrace_retrieval.adapters.postgres.passages import PostgresPassages
from headrace_retrieval.adapters.postgres.queue import PostgresQueue
from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.adapters.tantivy_index import TantivyIndex
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.search import Options, Search
from headrace_retrieval.domain.spending import Generated
from headrace_retrieval.indexing.follower import Follower
from headrace_retrieval.indexing.tender import Tender
from headrace_retrieval.indexing.worker import Worker
from headrace_retrieval.metrics import Metrics


class Known:
    """`Models` that look a text's vector up; what is measured is everything else."""

    def __init__(self) -> None:
        self.vectors: dict[str, bytes] = {}

    async def embed(self, deployment: str, texts: Sequence[str], *, tenant: str, limit_s: float) -> list[bytes]:
        """See the port."""
        return [self.vectors[text] for text in texts]

    async def generate(self, deployment: str, system: str, user: str, *, max_tokens: int, limit_s: float) -> Generated:
        """Nothing here generates."""
        raise AssertionError("searches are measured without widening")

    async def rerank(self, deployment: str, query: str, texts: Sequence[str], *, limit_s: float) -> list[float]:
        """Nothing here reranks."""
        raise AssertionError("searches are measured without reranking")


class Replica:
    """What the measurements call."""

    def __init__(self, database: Database, models: Known) -> None:
        self.database, self.models = database, models
        self.lexical = TantivyIndex()
        self.follower = Follower(PostgresFeed(database), self.lexical)
        self.store = PostgresCollections(database)
        self.documents = PostgresDocuments(database)
        self.passages = PostgresPassages(database)
        self.collections = Collections(self.store, self.follower.wake)
        self.tender = Tender(PostgresGraphs(database))
        metrics = Metrics(CollectorRegistry())
        self.worker = Worker(
            PostgresQueue(database), models, metrics, embed_batch=lambda: 256, published=self.follower.wake
        )
        self.search = Search(
            self.collections, self.passages, self.lexical, self.follower, models, metrics, NoOpTracer(),
            lambda: Options("none", candidates=50, rerank_candidates=50, model_limit_s=10),
        )  # fmt: skip


@asynccontextmanager
async def running(dsn: str) -> AsyncIterator[Replica]:
    """A replica with its background work, but for the tending of graphs."""
    postgres = Postgres(dsn, "retrieval")
    await postgres.open()
    replica = Replica(Database(postgres), Known())
    background = [asyncio.create_task(part.run()) for part in (replica.follower, replica.worker)]
    try:
        yield replica
    finally:
        for task in background:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await postgres.close()
