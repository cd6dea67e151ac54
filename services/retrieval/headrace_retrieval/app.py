"""Wires the service: `build(runtime)` is what a host calls."""

from __future__ import annotations

import asyncio
import logging

from headrace_kit.config import Snapshot
from headrace_kit.config.collections import Chunking
from headrace_kit.config.deployments import outside, tasks
from headrace_kit.config.services import Retrieval
from headrace_kit.ending import end
from headrace_kit.errors import BadInput, HeadraceError
from headrace_kit.hosting import ServiceApp, ServiceRuntime
from headrace_kit.stores.postgres import Postgres
from headrace_retrieval.adapters.inference import IDEMPOTENT, InferenceModels
from headrace_retrieval.adapters.postgres.collections import PostgresCollections
from headrace_retrieval.adapters.postgres.conversations import PostgresConversations
from headrace_retrieval.adapters.postgres.documents import PostgresDocuments
from headrace_retrieval.adapters.postgres.feed import PostgresFeed
from headrace_retrieval.adapters.postgres.graphs import PostgresGraphs
from headrace_retrieval.adapters.postgres.jobs import PostgresJobs
from headrace_retrieval.adapters.postgres.memories import PostgresMemories
from headrace_retrieval.adapters.postgres.passages import PostgresPassages
from headrace_retrieval.adapters.postgres.queue import LEASE_S, PostgresQueue
from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.adapters.postgres.sources import PostgresSources
from headrace_retrieval.adapters.sources import wanted
from headrace_retrieval.adapters.tantivy_index import TantivyIndex
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.conversations import Conversations
from headrace_retrieval.domain.ingest import Ingest
from headrace_retrieval.domain.jobs import Jobs
from headrace_retrieval.domain.memories import Memories
from headrace_retrieval.domain.model import MEMORY, Collection, CollectionSpec, IndexSpec
from headrace_retrieval.domain.people import Limits
from headrace_retrieval.domain.reindexing import Reindexing
from headrace_retrieval.domain.search import Options, Search
from headrace_retrieval.domain.source_calls import Sources
from headrace_retrieval.domain.sources import Wanted
from headrace_retrieval.domain.sync import Sync
from headrace_retrieval.grpc_api import Services, servicing
from headrace_retrieval.grpc_api.memory import MemoryServices
from headrace_retrieval.grpc_api.memory import servicing as memory_servicing
from headrace_retrieval.indexing.follower import Follower
from headrace_retrieval.indexing.forgetter import Forgetter
from headrace_retrieval.indexing.syncer import Syncer
from headrace_retrieval.indexing.tender import Tender
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

    def permits(tenant: str, deployment: str) -> bool:
        return may_use(runtime.configs.current, tenant, deployment)

    worker = Worker(
        PostgresQueue(database, lease_s),
        models,
        metrics,
        embed_batch=lambda: _settings(runtime).embed_batch,
        published=follower.wake,
        permits=permits,
    )
    tender = Tender(PostgresGraphs(database))
    store = PostgresCollections(database)
    collections = Collections(store, follower.wake)
    parser = Sandbox(_settings(runtime).parsers, _settings(runtime).parse_timeout)
    jobs = Jobs(collections, PostgresJobs(database), queued=worker.wake, changed=worker.wake)
    documents = PostgresDocuments(database)
    ingest = Ingest(collections, documents, follower, parser, jobs, queued=worker.wake, changed=follower.wake)
    search = Search(
        collections,
        PostgresPassages(database),
        lexical,
        follower,
        models,
        metrics,
        runtime.tracer,
        lambda: _options(_settings(runtime)),
        permits,
    )
    sync = ConfigSync(runtime, store)
    source_store = PostgresSources(database, lease_s)
    syncer = Syncer(
        source_store,
        Sync(source_store, documents, parser, queued=worker.wake, changed=follower.wake),
        lambda collection: sources_of(runtime, collection),
        lambda: scheduled(runtime.configs.current),
    )
    sources = Sources(collections, source_store, lambda collection: sources_of(runtime, collection), syncer.wake)

    def index_of(tenant: str, named: str) -> IndexSpec:
        return new_index(runtime.configs.current, tenant, named)

    services = Services(
        collections,
        ingest,
        jobs,
        sources,
        search,
        Reindexing(collections, store, jobs, index_of, worker.wake),
        index_of,
        lambda: _settings(runtime).max_file_bytes,
    )
    memory_store = PostgresMemories(database)

    def limits() -> Limits:
        return _limits(_settings(runtime))

    memories = Memories(collections, memory_store, search, limits, queued=worker.wake, changed=follower.wake)
    conversations = Conversations(
        collections,
        PostgresConversations(database),
        models,
        limits,
        lambda: _options(_settings(runtime)),
        permits,
    )
    forgetter = Forgetter(memory_store, limits, follower.wake)
    background: list[asyncio.Task[None]] = []

    async def start() -> None:
        await postgres.open()
        background.extend(
            asyncio.create_task(part.run()) for part in (sync, follower, worker, tender, syncer, forgetter)
        )

    async def stop() -> None:
        await end(*background)
        await postgres.close()

    def problems() -> list[str]:
        found = [] if follower.ready else ["the lexical index is not built yet: PostgreSQL may be away"]
        return found if sync.done else [*found, "the config's collections are not there yet"]

    return ServiceApp(
        name="retrieval",
        servicers=[
            servicing(runtime.rpc, services),
            memory_servicing(runtime.rpc, MemoryServices(memories, conversations, ingest)),
        ],
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
            acl_required=section.acl == "required" or section.kind == MEMORY,
            shared_with=tuple(sorted(set(section.shared_with) - {section.tenant})),
            index=IndexSpec(section.embedding, section.chunking.max_tokens, section.chunking.overlap_tokens),
            kind=section.kind,
        )
        for name, section in snapshot.config.collections.items()
    ]


def sources_of(runtime: ServiceRuntime, collection: Collection) -> dict[str, Wanted]:
    """The sources that the config names for a collection."""
    snapshot = runtime.configs.current
    section = snapshot.config.collections.get(collection.spec.name)
    if section is None or section.tenant != collection.spec.tenant:
        return {}
    folder, most = snapshot.path.absolute().parent, _settings(runtime).max_file_bytes
    return {name: wanted(name, one, folder, runtime.secrets, most) for name, one in section.sources.items()}


def scheduled(snapshot: Snapshot) -> list[tuple[str, str, str, float]]:
    """Tenant, collection, source and seconds between synchronisations, of all sources that have a time."""
    return [
        (section.tenant, collection, name, source.every)
        for collection, section in snapshot.config.collections.items()
        for name, source in section.sources.items()
        if source.every is not None
    ]


def may_use(snapshot: Snapshot, tenant: str, deployment: str) -> bool:
    """Whether a tenant's texts may be sent to a deployment; one that is gone is left to inference to refuse."""
    team, there = snapshot.config.tenants.get(tenant), snapshot.config.deployments.get(deployment)
    return team is None or there is None or team.may_use(there)


def new_index(snapshot: Snapshot, tenant: str, embedding: str) -> IndexSpec:
    """How a collection made by API is cut and embedded. Empty: the default embedding deployment.

    Raises:
        BadInput: there is no such deployment for the tenant, or it does not embed.
    """
    deployments = snapshot.config.deployments.items()
    embedding_deployments = [
        name
        for name, one in deployments
        if "embed" in tasks(one) and not outside(one) and may_use(snapshot, tenant, name)
    ]
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
    return Options(
        settings.reranker,
        settings.candidates,
        settings.rerank_candidates,
        settings.model_timeout,
        settings.rewriter or "",
        settings.rewrite_timeout,
    )


def _limits(settings: Retrieval) -> Limits:
    memory = settings.memory
    return Limits(memory.context_tokens, memory.summary_tokens, memory.conversation_retention, memory.fact_retention)
