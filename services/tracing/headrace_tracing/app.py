"""Wires the tracing service."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import cast

from headrace_kit.config import services
from headrace_kit.config.deployments import entries_of
from headrace_kit.config.document import Config
from headrace_kit.config.traces import Topics
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.rounds import Rounds
from headrace_kit.stores.postgres import Postgres
from headrace_protos.tracing.v1 import console_pb2_grpc, service_pb2_grpc
from headrace_tracing.adapters.asks import PostgresAskStore
from headrace_tracing.adapters.embedder import IDEMPOTENT, InferenceEmbedder
from headrace_tracing.adapters.postgres import PostgresTraceStore
from headrace_tracing.adapters.profiles import PostgresProfileStore
from headrace_tracing.adapters.redactor import DetectorRedactor
from headrace_tracing.adapters.spool import DiskSpool
from headrace_tracing.adapters.topics import PostgresTopicStore
from headrace_tracing.adapters.vault import Vault
from headrace_tracing.adapters.web import FolderWeb
from headrace_tracing.domain.drift import Limits
from headrace_tracing.domain.drift_asked import DriftQuestions
from headrace_tracing.domain.drift_watch import DriftWatch, Watching
from headrace_tracing.domain.forwarding import Forwarder
from headrace_tracing.domain.ingest import Ingest
from headrace_tracing.domain.prepare import Preparation
from headrace_tracing.domain.questions import Questions
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.retention import Retention
from headrace_tracing.domain.retried import Retries, Retrying
from headrace_tracing.domain.thinning import Rules, Thinning
from headrace_tracing.domain.topic_watch import Learning, TopicWatch
from headrace_tracing.grpc_api import console as console_grpc
from headrace_tracing.grpc_api.servicer import FULL_NAME, TracingServicer
from headrace_tracing.metrics import Metrics
from headrace_tracing.otlp_api.intake import Intake
from headrace_tracing.otlp_api.receivers import receivers
from headrace_tracing.otlp_api.server import OtlpServer

KEY = "tracing-key"
"""Secret that tokens, digests and the encryption of contents are keyed by."""

EVERYTHING = 10_000
"""Hundredths of a percent."""

LAST_WRITES_S = 3
"""How long the end waits for a database that answers to take the last spans."""


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service; nothing runs or listens until the host starts it.

    Raises:
        NotReady: the secret with PostgreSQL's address is missing.
    """

    def settings() -> services.Tracing:
        return cast(services.Tracing, runtime.settings)

    def capture(tenant: str) -> str:
        config = runtime.configs.current.config
        found = config.tenants.get(tenant)
        return (found.trace_content if found else None) or config.telemetry.content

    def rules() -> Rules | None:
        thin = settings().thin
        shares = {
            name: tenant.trace_keep
            for name, tenant in runtime.configs.current.config.tenants.items()
            if tenant.trace_keep is not None
        }
        if min((thin.keep, *shares.values())) == EVERYTHING:
            return None
        return Rules(
            lambda tenant: shares.get(tenant, thin.keep), round(thin.slow * 1e9), thin.keep_rollouts, thin.after
        )

    def watching() -> Watching:
        drift = settings().drift
        limits = Limits(drift.least, drift.psi, drift.alpha)
        return Watching(drift.days, drift.reference_days, drift.kept_days, limits)

    def learning() -> Learning | None:
        topics = settings().drift.topics
        return None if topics.embedding is None else _learning(runtime.configs.current.config, topics)

    def retrying() -> Retrying | None:
        retried = settings().retried
        return Retrying(retried.within, retried.alike / EVERYTHING, retried.score) if retried.within else None

    stores = runtime.configs.current.config.stores
    postgres = Postgres(runtime.secrets.require(stores.postgres), "tracing", settings().postgres_connections)
    metrics = Metrics(runtime.registry)
    store = PostgresTraceStore(postgres)
    vault = Vault(runtime.secrets.get(KEY))
    cleaner = Cleaner(DetectorRedactor(metrics, vault.tokens))
    spool = DiskSpool(runtime.env.data_dir / "tracing" / "spool", lambda: settings().disk_buffer_bytes)
    ingest = Ingest(store, spool, metrics)
    retention = Retention(store, metrics, lambda: settings().retention, lambda: settings().full_retention)
    profiles = PostgresProfileStore(postgres)
    embedder = InferenceEmbedder(runtime.peer("inference", IDEMPOTENT))
    topics = TopicWatch(PostgresTopicStore(postgres), embedder, metrics, learning)
    watch = DriftWatch(profiles, metrics, watching, topics)
    thinning = Thinning(store, metrics, rules)
    retries = Retries(PostgresAskStore(postgres), store, metrics, retrying)
    beside = (
        Rounds(retention.sweep, 600, "old traces could not be deleted"),
        Rounds(thinning.sweep, 20, "traces could not be thinned"),
        Rounds(watch.look, 600, "drift could not be looked at"),
        Rounds(retries.look, 30, "questions that were asked again could not be looked for"),
    )
    preparation = Preparation(cleaner, vault, capture)
    forwarder = Forwarder(receivers(settings().forward, runtime.secrets.require), metrics)
    intake = Intake(ingest, preparation, metrics, forwarder)
    otlp = OtlpServer(intake, metrics)

    async def start() -> None:
        await postgres.open()
        await ingest.start()
        for rounds in beside:
            rounds.start()
        forwarder.start()
        wanted = settings().otlp_port
        port = runtime.env.port("tracing-otlp") if wanted is None else wanted
        await otlp.start(settings().listen.host or runtime.env.host, port)

    async def stop() -> None:
        await otlp.stop()
        if not ingest.store_away:
            with suppress(TimeoutError):
                await asyncio.wait_for(ingest.drain(), LAST_WRITES_S)
        await ingest.stop()
        await forwarder.stop()
        for rounds in beside:
            await rounds.stop()
        await postgres.close()

    # Without PostgreSQL the service still takes spans, so it is ready: taking it out of rotation would lose them.
    servicing = Servicing(
        service_pb2_grpc.add_TracingServiceServicer_to_server,
        TracingServicer(runtime.rpc, Questions(store, cleaner, vault), intake, DriftQuestions(profiles, watching)),
        FULL_NAME,
    )
    console = Servicing(
        console_pb2_grpc.add_ConsoleServiceServicer_to_server,
        console_grpc.ConsoleServicer(runtime.rpc, FolderWeb()),
        console_grpc.FULL_NAME,
    )
    return ServiceApp(
        runtime.service, [servicing, console], start=start, drain=ingest.quiet, stop=stop, problems=otlp.problems
    )


def _learning(config: Config, topics: Topics) -> Learning:
    name = topics.embedding or ""
    deployment = config.deployments[name]
    weights = [file.sha256 for entry in entries_of(deployment) for file in config.catalogue[entry].files]
    facts = "\n".join([deployment.model_dump_json(), *weights])

    def may_use(tenant: str) -> bool:
        team = config.tenants.get(tenant)
        return team is None or team.may_use(deployment)

    version = f"{name}@{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    return Learning(name, version, may_use, topics.sample, topics.most, topics.clusters)
