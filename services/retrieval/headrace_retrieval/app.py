"""Wires the service: `build(runtime)` is what a host calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from headrace_kit.config import Snapshot
from headrace_kit.config.collections import Chunking
from headrace_kit.config.deployments import outside, tasks
from headrace_kit.config.services import Retrieval
from headrace_kit.errors import BadInput, HeadraceError
from headrace_kit.hosting import ServiceApp, ServiceRuntime
from headrace_kit.stores.postgres import Postgres
from headrace_retrieval.adapters.inference import IDEMPOTENT, InferenceModels
from headrace_retrieval.adapters.postgres.collections import PostgresCollections
from headrace_retrieval.adapters.postgres.documents import PostgresDocuments
from headrace_retrieval.adapters.postgres.feed import PostgresFeed
from headrace_retrieval.adapters.postgres.passages import PostgresPassages
from headrace_retrieval.adapters.postgres.queue import LEASE_S, PostgresQueue
from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.adapters.tantivy_index import TantivyIndex
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.ingest import Ingest
from headrace_retrieval.domain.model import CollectionSpec, IndexSpec
from headrace_retrieval.domain.search import Options, Search
from headrace_retrieval.grpc_api import Services, servicing
from headrace_retrieval.indexing.follower import Follower
from headrace_retrieval.indexing.worker import Worker
from headrace_retrieval.metrics import Metrics
from headrace_retrieval.parsing.sandbox import Sandbox
from headrace_retrieval.ports import CollectionStore, Models

_log = logging.getLogger(__name__)

DEFAULT_EMBEDDING = "minilm"
_SYNC_RETRY_S = 1.0


def build(runtime: ServiceRuntime) -> ServiceApp:
    """The service of a host's process."""
    return assemble(runtime, InferenceModels(runtime.peer("inference", IDEMPOTENT)))


def assemble(runtime: ServiceRuntime, models: Models, lease_s: float = LEASE_S) -> ServiceApp:
    """The service with models of the caller's choice; tests use it to run without inference.

    Args:
        lease_s: seconds after which another worker takes over what a dead one had taken.
    """
    settings = runtime.settings
    dsn = runtime.secrets.require(runtime.configs.current.config.stores.postgres)
    postgres = Postgres(dsn, "retrieval", max_size=settings.postgres_connections)
    database = Database(postgres)
    metrics = Metrics(runtime.registry)
    lexical = TantivyIndex()
    follower = Follower(PostgresFeed(database), lexical)
    metrics.lexical_position.set_function(lambda: follower.applied)
    metrics.lexical_passages.set_function(lexical.passages)
    worker = Worker(
        PostgresQueue(database, lease_s),
        models,
        metrics,
        embed_batch=lambda: _settings(runtime).embed_batch,
        published=follower.wake,
    )
    store = PostgresCollections(database)
    collections = Collections(store, follower.wake)
    parser = Sandbox(_settings(runtime).parsers, _settings(runtime).parse_timeout)
    ingest = Ingest(
        collections, PostgresDocuments(database), follower, parser, queued=worker.wake, changed=follower.wake
    )
    search = Search(
        collections,
        PostgresPassages(database),
        lexical,
        follower,
        models,
        metrics,
        runtime.tracer,
        lambda: _options(_settings(runtime)),
    )
    sync = ConfigSync(runtime, store)
    services = Services(
        collections,
        ingest,
        search,
        lambda named: new_index(runtime.configs.current, named),
        lambda: _settings(runtime).max_file_bytes,
    )
    background: list[asyncio.Task[None]] = []

    async def start() -> None:
        await postgres.open()
        background.extend(asyncio.create_task(part.run()) for part in (sync, follower, worker))

    async def stop() -> None:
        for task in background:
            task.cancel()
        for task in background:
            with contextlib.suppress(asyncio.CancelledError, HeadraceError):
                await task
        await postgres.close()

    def problems() -> list[str]:
        found = [] if follower.ready else ["the lexical index is not built yet: PostgreSQL may be away"]
        return found if sync.done else [*found, "the config's collections are not there yet"]

    return ServiceApp(
        name="retrieval",
        servicers=[servicing(runtime.rpc, services)],
        start=start,
        stop=stop,
        problems=problems,
    )


class ConfigSync:
    """Makes the config's collections at start and after each change; tries again while PostgreSQL is away."""

    def __init__(self, runtime: ServiceRuntime, store: CollectionStore) -> None:
        self._runtime = runtime
        self._store = store
        self._changed = asyncio.Event()
        self.done = False
        runtime.configs.on_change(lambda _: self._changed.set())

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self._store.sync(configured(self._runtime.configs.current))
                self.done = True
            except Exception as error:
                _log.log(
                    logging.WARNING if isinstance(error, HeadraceError) else logging.ERROR,
                    "the config's collections could not be made; trying again",
                    exc_info=None if isinstance(error, HeadraceError) else error,
                )
                await asyncio.sleep(_SYNC_RETRY_S)
                continue
            await self._changed.wait()


def configured(snapshot: Snapshot) -> list[CollectionSpec]:
    """The collections that a config names."""
    return [
        CollectionSpec(
            tenant=section.tenant,
            name=name,
            acl_required=section.acl == "required",
            shared_with=tuple(sorted(set(section.shared_with) - {section.tenant})),
            index=IndexSpec(section.embedding, section.chunking.max_tokens, section.chunking.overlap_tokens),
        )
        for name, section in snapshot.config.collections.items()
    ]


def new_index(snapshot: Snapshot, embedding: str) -> IndexSpec:
    """How a collection made by API is cut and embedded. Empty: the default embedding deployment.

    Raises:
        BadInput: there is no such deployment, or it does not embed.
    """
    deployments = snapshot.config.deployments.items()
    embedding_deployments = [name for name, one in deployments if "embed" in tasks(one) and not outside(one)]
    if not embedding:
        embedding = next(
            (name for name in (DEFAULT_EMBEDDING, *embedding_deployments) if name in embedding_deployments), ""
        )
    if embedding not in embedding_deployments:
        raise BadInput(
            f"there is no embedding deployment {embedding!r}; there are: {', '.join(embedding_deployments) or 'none'}",
            param="collection.embedding",
        )
    chunking = Chunking()
    return IndexSpec(embedding, chunking.max_tokens, chunking.overlap_tokens)


def _settings(runtime: ServiceRuntime) -> Retrieval:
    settings = runtime.settings
    assert isinstance(settings, Retrieval)
    return settings


def _options(settings: Retrieval) -> Options:
    return Options(settings.reranker, settings.candidates, settings.rerank_candidates, settings.model_timeout)
