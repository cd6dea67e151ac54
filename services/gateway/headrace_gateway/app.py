"""Wires the gateway."""

from __future__ import annotations

from typing import cast

from headrace_gateway.adapters.engines import Engines
from headrace_gateway.adapters.guardrails import GuardrailsCandidate, GuardrailsClient
from headrace_gateway.adapters.inference import InferenceCounts, InferenceEngine
from headrace_gateway.adapters.loads import LoadPoll
from headrace_gateway.adapters.nodes import Nodes
from headrace_gateway.adapters.postgres_audit import PostgresAudit
from headrace_gateway.adapters.postgres_budgets import PostgresSpending
from headrace_gateway.adapters.postgres_keys import PostgresKeys
from headrace_gateway.adapters.postgres_ledger import PostgresLedger
from headrace_gateway.adapters.receivers import OtlpReceiver, TracingReceiver
from headrace_gateway.adapters.retrieval import RetrievalClient
from headrace_gateway.adapters.rollout import GrantWatch
from headrace_gateway.adapters.services import Services
from headrace_gateway.adapters.valkey_budgets import ValkeyLeases
from headrace_gateway.adapters.valkey_cache import ValkeyCache
from headrace_gateway.adapters.valkey_claims import ValkeyClaims
from headrace_gateway.adapters.valkey_rates import ValkeyRates
from headrace_gateway.adapters.valkey_stream import ValkeyEvents
from headrace_gateway.adapters.webhooks import HttpPost
from headrace_gateway.admin import KeyAdmin
from headrace_gateway.admission.door import Door
from headrace_gateway.admission.keys import KeyRing
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.admission.overload import LoopLag
from headrace_gateway.admission.sessions import AUDIENCE, Sessions
from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.outcomes import Finishing
from headrace_gateway.arms.ratings import Ratings
from headrace_gateway.arms.referee import Referee
from headrace_gateway.arms.shadow import Shadows
from headrace_gateway.arms.similar import Alike
from headrace_gateway.audit import Auditor, AuditReader, config_entry
from headrace_gateway.budgets.alerts import Alerts, shaped
from headrace_gateway.budgets.service import Budgets
from headrace_gateway.cache.semantic import Semantic
from headrace_gateway.cache.stage import AnswerCache
from headrace_gateway.calls import GenerateCall
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.webhook import Webhooks
from headrace_gateway.context import RequestContext
from headrace_gateway.conversations import Conversations
from headrace_gateway.deployments import DeploymentAdmin
from headrace_gateway.grounding.rewriting import Metered, Rewriting
from headrace_gateway.grpc_api import admin as admin_grpc
from headrace_gateway.grpc_api import gateway as gateway_grpc
from headrace_gateway.grpc_api import retrieval as retrieval_grpc
from headrace_gateway.grpc_api import rollouts as rollouts_grpc
from headrace_gateway.grpc_api import traces as traces_grpc
from headrace_gateway.grpc_api.admin import AdminServicer
from headrace_gateway.grpc_api.gateway import GatewayServicer
from headrace_gateway.grpc_api.once import GrpcOnce
from headrace_gateway.guarding.decisions import Decisions
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.http_api.admin import AdminApi
from headrace_gateway.http_api.admin_audit import AuditApi
from headrace_gateway.http_api.admin_deployments import DeploymentsApi
from headrace_gateway.http_api.admin_keys import KeysApi
from headrace_gateway.http_api.admin_verdicts import VerdictsApi
from headrace_gateway.http_api.application import HttpApplication
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.budget import BudgetApi
from headrace_gateway.http_api.chat import ChatApi
from headrace_gateway.http_api.collection_indexes import CollectionIndexesApi
from headrace_gateway.http_api.collection_jobs import CollectionJobsApi
from headrace_gateway.http_api.collection_sources import CollectionSourcesApi
from headrace_gateway.http_api.collections import CollectionsApi
from headrace_gateway.http_api.console import ConsoleApi
from headrace_gateway.http_api.docs_page import DocsApi
from headrace_gateway.http_api.guardrails import GuardrailsApi
from headrace_gateway.http_api.memory import MemoryApi
from headrace_gateway.http_api.models import model_routes
from headrace_gateway.http_api.once import HttpOnce
from headrace_gateway.http_api.reconcile import ReconcileApi
from headrace_gateway.http_api.responses import ResponsesApi
from headrace_gateway.http_api.router import Router
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_gateway.http_api.traces import TracesApi
from headrace_gateway.http_api.usage import UsageApi
from headrace_gateway.http_api.vectors import VectorsApi
from headrace_gateway.idempotency.once import Once
from headrace_gateway.ledger.service import Ledger
from headrace_gateway.observing.choices import ChoiceMetrics
from headrace_gateway.observing.export import Exporter
from headrace_gateway.observing.failures import FailureMetrics
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.pipeline import Pipeline
from headrace_gateway.resilience.attempts import Attempts
from headrace_gateway.resilience.health import Health
from headrace_gateway.routing.active import ActiveTable
from headrace_gateway.routing.choose import PoolChooser
from headrace_gateway.routing.load import LoadBook
from headrace_gateway.running import Running
from headrace_gateway.unary import Vectors
from headrace_kit.config.deployments import Price
from headrace_kit.config.services import Gateway
from headrace_kit.hosting import HttpApp, HttpLimits, ServiceApp, ServiceRuntime, Servicing
from headrace_kit.rpc import Peer
from headrace_kit.rpc.identity import Verifier
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_kit.telemetry.tracing import VERSION
from headrace_kit.telling import Teller, poster, telling
from headrace_protos.gateway.v1 import service_pb2_grpc

IDEMPOTENT = {
    "inference": (
        "/headrace.common.v1.NodeService/GetStatus",
        "/headrace.inference.v1.InferenceService/ListDeployments",
        "/headrace.inference.v1.InferenceService/GetLoad",
        "/headrace.inference.v1.InferenceService/GetUsage",
    ),
    "retrieval": (
        "/headrace.retrieval.v1.RetrievalService/Search",
        "/headrace.retrieval.v1.RetrievalService/GetCollection",
        "/headrace.retrieval.v1.RetrievalService/ListCollections",
        "/headrace.retrieval.v1.RetrievalService/GetDocument",
        "/headrace.retrieval.v1.RetrievalService/ListDocuments",
        "/headrace.retrieval.v1.RetrievalService/GetJob",
        "/headrace.retrieval.v1.RetrievalService/ListJobs",
        "/headrace.retrieval.v1.RetrievalService/ListDeadLetters",
        "/headrace.retrieval.v1.RetrievalService/ListSources",
        "/headrace.retrieval.v1.RetrievalService/ListRefusals",
        "/headrace.retrieval.v1.RetrievalService/ListIndexes",
        "/headrace.retrieval.v1.MemoryService/GetMemory",
        "/headrace.retrieval.v1.MemoryService/ListFacts",
        "/headrace.retrieval.v1.MemoryService/SearchMemory",
        "/headrace.retrieval.v1.MemoryService/GetConversation",
        "/headrace.retrieval.v1.MemoryService/ListConversations",
    ),
    "guardrails": ("/headrace.guardrails.v1.GuardrailsService/Check",),
    "tracing": (
        "/headrace.tracing.v1.TracingService/GetTrace",
        "/headrace.tracing.v1.TracingService/ListTraces",
        "/headrace.tracing.v1.TracingService/ListSessions",
        "/headrace.tracing.v1.TracingService/Aggregate",
        "/headrace.tracing.v1.TracingService/Compare",
        "/headrace.tracing.v1.ConsoleService/GetFile",
    ),
    "rollout": (
        "/headrace.rollout.v1.RolloutService/ListRollouts",
        "/headrace.rollout.v1.RolloutService/GetRollout",
        "/headrace.rollout.v1.RolloutService/Explain",
    ),
}
"""What gRPC itself may try again while a service is unreachable. Generate is not: the pipeline retries by policy."""

_CACHE_TIMEOUT_S = 0.2


def build(runtime: ServiceRuntime) -> ServiceApp:
    """The gateway of this process.

    Raises:
        NotReady: a secret that it cannot start without is missing.
        ValueError: a guardrail check of the config cannot be built.
    """

    def settings() -> Gateway:
        return cast(Gateway, runtime.settings)

    stores = runtime.configs.current.config.stores
    peers = {name: runtime.peer(name, idempotent) for name, idempotent in IDEMPOTENT.items()}
    running = Running(runtime.env.release or VERSION, runtime.env.track)
    metrics = Metrics(runtime.registry, running)
    postgres = Postgres(runtime.secrets.require(stores.postgres), "gateway", settings().postgres_connections)
    valkey = connect(runtime.secrets.require(stores.valkey))

    ring = KeyRing(runtime.secrets.get("bootstrap-admin-key"))
    keys = PostgresKeys(postgres, ring)
    verifier = Verifier(AUDIENCE, runtime.env.secrets_path / "signing")
    services_verifier = Verifier("gateway", runtime.env.secrets_path / "signing")
    sessions = Sessions(ring, runtime.signer, verifier, lambda: settings().console_session, services_verifier)

    def guardrails_canary() -> Peer | None:
        return runtime.canary("guardrails", IDEMPOTENT["guardrails"])

    def canaries() -> dict[str, Peer]:
        peer = guardrails_canary()
        return {} if peer is None else {"guardrails-canary": peer}

    needed = {name: peers[name] for name in ("inference", "retrieval", "guardrails", "rollout")}
    nodes = Nodes(needed, canaries=canaries)
    active = ActiveTable(runtime.configs, nodes.missing)
    leases = Leases(running=running)
    ledger_store = PostgresLedger(postgres)
    counts = InferenceCounts(peers["inference"])

    def price(name: str) -> Price | None:
        found = active.current.config.deployments.get(name)
        return found.price if found else None

    spending = PostgresSpending(postgres)
    audit_store = PostgresAudit(postgres, lambda: bool(settings().notify))
    auditor, audit = Auditor(audit_store), AuditReader(audit_store)
    root = runtime.env.data_dir / "gateway" / "log"
    ledger = Ledger(
        root,
        settings().log_fsync_ms / 1000,
        lambda log_id: ValkeyEvents(valkey, log_id),
        ledger_store,
        metrics.log_backlog.set,
        counts,
        price,
        finished=spending.finish,
        running=running,
    )
    budgets = Budgets(
        lambda: active.current,
        ledger.log.log_id,
        ValkeyLeases(valkey),
        ValkeyRates(valkey),
        spending,
        Alerts(runtime.registry, auditor.note).look,
    )
    active.switched = lambda old, new: auditor.note(config_entry(old, new))
    watch = GrantWatch(peers["rollout"], leases, ledger.log.log_id)
    ours = runtime.configs.current.config.telemetry.to_own_tracing
    receiver = (TracingReceiver if ours else OtlpReceiver)(runtime.otlp_address)
    exporter = Exporter(receiver, metrics, running)
    in_flight = InFlight()
    lag = LoopLag(lambda: settings().max_loop_lag_ms / 1000, metrics.loop_lag.set)
    health = Health(FailureMetrics(runtime.registry))
    loads = LoadBook()
    load_poll = LoadPoll(peers["inference"], loads)
    chooser = PoolChooser(health.healthy, loads, ChoiceMetrics(runtime.registry).chosen)
    inference = InferenceEngine(peers["inference"])
    engines = Engines(inference, runtime.configs, runtime.secrets)
    attempts = Attempts(engines, ledger.log, metrics, chooser, health, [loads])
    retriever = RetrievalClient(peers["retrieval"])
    # A client of its own: a request waits for the cache, so it gives up sooner than others do.
    cache_client = connect(runtime.secrets.require(stores.valkey), _CACHE_TIMEOUT_S)
    store = ValkeyCache(cache_client)
    cache = AnswerCache(store, retriever, Semantic(store, attempts), ledger.log, metrics)
    hosts = lambda: settings().webhook_hosts  # noqa: E731
    webhooks = Webhooks(HttpPost(hosts), runtime.secrets.get, metrics.webhook)
    news = Teller(
        audit_store.news,
        shaped,
        lambda: settings().notify,
        poster(hosts, "services.gateway.webhook_hosts"),
        runtime.secrets.get,
        metrics.webhook,
    )
    teller = telling(news)
    guardrails = GuardrailsClient(peers["guardrails"])
    candidate = GuardrailsCandidate(guardrails_canary)
    decisions = Decisions(guardrails, metrics.decisions_lost.inc, candidate)
    guards = Guards(guardrails, decisions, candidate)
    rewriting = Rewriting(ledger.log, metrics)
    judges = Judges(attempts, inference, webhooks)
    conversations = Conversations(retriever, rewriting, metrics)
    pipeline = Pipeline(attempts, retriever, leases, metrics, cache, judges, guards, rewriting, conversations)

    async def serve(ctx: RequestContext, call: GenerateCall) -> None:
        await (await pipeline.generate(ctx, call)).whole()

    async def said(ctx: RequestContext, call: GenerateCall) -> str:
        chunks, _ = await (await pipeline.generate(ctx, call)).whole()
        return chunks[0].text

    referee = Referee(said, exporter.record)
    shadows = Shadows(serve, Alike(attempts), referee, ledger.log, exporter.record, metrics.shadow)
    door = Door(
        sessions,
        in_flight,
        lag,
        lambda: active.current,
        lambda: settings().max_in_flight,
        metrics,
        budgets.book,
        budgets.rates,
        Finishing(ledger.log, metrics.arm, shadows.begin, exporter.record).record,
        leases.canary,
    )

    def limit() -> int:
        return settings().max_body_bytes

    def upload_limit() -> int:
        return settings().max_upload_bytes

    def keep_alive_s() -> float:
        return settings().stream_keep_alive_s

    def config_version() -> tuple[str, str, str]:
        return active.current.hash, active.pending, active.error

    once = Once(ValkeyClaims(cache_client), lambda: settings().idempotency)
    services = Services(peers)
    metered = Metered(services, rewriting)
    vectors = Vectors(attempts, leases, guards)
    ratings = Ratings(services, leases, ledger.log)
    key_admin = KeyAdmin(keys)
    deployments = DeploymentAdmin(services)
    routes = [
        *ChatApi(pipeline, door, limit, keep_alive_s).routes(),
        *ResponsesApi(pipeline, door, limit, keep_alive_s).routes(),
        *model_routes(),
        *VectorsApi(vectors, limit).routes(),
        *CollectionsApi(metered, limit, upload_limit).routes(),
        *CollectionJobsApi(services, limit).routes(),
        *CollectionIndexesApi(services, limit).routes(),
        *CollectionSourcesApi(services).routes(),
        *MemoryApi(metered, limit).routes(),
        *GuardrailsApi(services).routes(),
        *TracesApi(services, ratings).routes(),
        *UsageApi(ledger_store.usage).routes(),
        *ReconcileApi(ledger_store.attempts, counts, price).routes(),
        *BudgetApi(budgets.reader).routes(),
        *KeysApi(key_admin).routes(),
        *AuditApi(audit).routes(),
        *AdminApi(services, config_version).routes(),
        *VerdictsApi(services).routes(),
        *DeploymentsApi(deployments).routes(),
    ]
    pages = [*DocsApi(routes).routes(), *ConsoleApi(sessions, services.console_file).routes()]
    http = HttpApplication(Router([*routes, *pages]), door, HttpOnce(once, in_flight, limit))

    async def start() -> None:
        await postgres.open()
        await ledger.start()
        lag.start()
        for part in (keys, active, watch, load_poll, exporter, budgets, auditor, webhooks, teller, decisions):
            part.start()

    async def stop() -> None:
        lag.stop()
        for part in (watch, load_poll, active, keys, deployments, webhooks, teller):
            await part.stop()
        await decisions.stop()
        await once.stop()
        await ratings.stop()
        await conversations.stop()
        await shadows.stop()
        await cache.stop()
        await budgets.stop()
        await auditor.stop()
        engines.close()
        await ledger.stop()
        await exporter.stop()
        await receiver.close()
        await valkey.aclose()
        await cache_client.aclose()
        await postgres.close()

    def problems() -> list[str]:
        found = [ledger.log.problem] if ledger.log.problem else []
        if not ring.loaded and runtime.secrets.get("bootstrap-admin-key") is None:
            found.append("no keys were loaded yet")
        return found

    return ServiceApp(
        name="gateway",
        servicers=[
            Servicing(
                service_pb2_grpc.add_GatewayServiceServicer_to_server,
                GatewayServicer(
                    runtime.rpc,
                    door,
                    pipeline,
                    vectors,
                    GrpcOnce(once, in_flight),
                    ledger_store.usage,
                    budgets.reader,
                    ratings,
                ),
                gateway_grpc.SERVICE,
            ),
            Servicing(
                service_pb2_grpc.add_AdminServiceServicer_to_server,
                AdminServicer(runtime.rpc, door, key_admin, deployments, config_version, audit),
                admin_grpc.SERVICE,
            ),
            *retrieval_grpc.servicing(runtime.rpc, door, metered),
            *traces_grpc.servicing(runtime.rpc, door, services, ratings),
            rollouts_grpc.servicing(runtime.rpc, door, services),
        ],
        http=HttpApp(
            rsgi=RsgiFace(http).__rsgi__,
            asgi=AsgiFace(http),
            limits=HttpLimits(settings().max_connections, settings().max_header_bytes, settings().unread_timeout_s),
        ),
        start=start,
        drain=in_flight.drain,
        stop=stop,
        problems=problems,
    )
