"""Wires the service."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import uuid_utils

from headrace_guardrails.adapters.compile import PolicyCompiler
from headrace_guardrails.adapters.makers import Makers
from headrace_guardrails.adapters.postgres_audit import PostgresAudit
from headrace_guardrails.adapters.postgres_reviews import PostgresReviews
from headrace_guardrails.adapters.valkey_masks import ValkeyMasks
from headrace_guardrails.domain.audit import Auditor
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.masks import Masks
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.domain.reviews import Reviews, Times
from headrace_guardrails.domain.sealing import Seal
from headrace_guardrails.grpc_api.servicer import GuardrailsServicer
from headrace_guardrails.metrics import Metrics
from headrace_kit.config.services import Guardrails as GuardrailsSettings
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_kit.telemetry.tracing import VERSION
from headrace_protos.guardrails.v1 import service_pb2_grpc

_SWEEP_S = 30
_log = logging.getLogger(__name__)


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service from its config; nothing runs until the host starts it.

    Without the secrets of the stores and `guardrails-key` it judges all the same: then nothing can be escalated,
    unmasked or audited, and what needs that is refused.
    """

    def settings() -> GuardrailsSettings:
        return cast(GuardrailsSettings, runtime.settings)

    def times() -> Times:
        now = settings()
        return Times(now.review_ttl, now.review_claim, now.review_approval, now.review_keep)

    def new_id() -> str:
        return str(uuid_utils.uuid7())

    release = runtime.env.release or VERSION
    metrics = Metrics(runtime.registry, release, runtime.env.track)
    stores = runtime.configs.current.config.stores
    word, dsn = runtime.secrets.get("guardrails-key"), runtime.secrets.get(stores.postgres)
    valkey_url = runtime.secrets.get(stores.valkey)
    postgres = Postgres(dsn, "guardrails", settings().postgres_connections, wait_s=2) if word and dsn else None
    valkey = connect(valkey_url, 0.5) if word and valkey_url else None
    if postgres is None:
        _log.warning("no guardrails-key or no database: nothing can be escalated, and nothing is audited")
    seal = Seal(word or new_id())
    reviews = Reviews(PostgresReviews(postgres) if postgres else None, seal, times, new_id)
    auditor = Auditor(PostgresAudit(postgres) if postgres else None, metrics.audit_lost.inc, new_id)
    masks = Masks(ValkeyMasks(valkey) if valkey else None, seal, lambda: settings().mask_ttl)
    makers = Makers(runtime, settings)
    policies = Policies(PolicyCompiler(makers.by_check()))
    guard = Guard(policies, metrics, settings().max_text_bytes, reviews, auditor.judged)

    def follow(snapshot: Snapshot) -> None:
        policies.apply(snapshot.hash, snapshot.config.guardrails)

    follow(runtime.configs.current)
    runtime.configs.on_change(follow)
    sweeping: list[asyncio.Task[None]] = []

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                metrics.reviews.labels("expired").inc(await reviews.sweep())
            except HeadraceError as error:
                _log.warning("reviews were not swept: %s", error.message)

    async def start() -> None:
        if postgres is not None:
            await postgres.open()
            sweeping.append(asyncio.create_task(sweep()))
        auditor.start()
        await makers.start()

    async def stop() -> None:
        await end(*sweeping)
        await auditor.stop()
        await makers.stop()
        if valkey is not None:
            await valkey.aclose()
        if postgres is not None:
            await postgres.close()

    return ServiceApp(
        name="guardrails",
        servicers=[
            Servicing(
                service_pb2_grpc.add_GuardrailsServiceServicer_to_server,
                GuardrailsServicer(runtime.rpc, guard, policies, metrics, reviews, auditor, masks, release),
                "headrace.guardrails.v1.GuardrailsService",
            )
        ],
        start=start,
        stop=stop,
        problems=policies.problems,
    )
