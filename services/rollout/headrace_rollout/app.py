"""Wires the rollout service."""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import urlsplit

from headrace_kit.config import services
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_kit.webhooks import post
from headrace_protos.rollout.v1 import service_pb2_grpc
from headrace_rollout.adapters.postgres import PostgresRolloutStore
from headrace_rollout.adapters.valkey_events import ValkeyEvents
from headrace_rollout.domain.controller import Controller
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.grants import Grants
from headrace_rollout.domain.hearing import Hearing
from headrace_rollout.domain.news import Teller
from headrace_rollout.domain.operations import Operations
from headrace_rollout.grpc_api import FULL_NAME, RolloutServicer
from headrace_rollout.metrics import Metrics

_VALKEY_TIMEOUT_S = 0.5


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service; nothing runs until the host starts it.

    Raises:
        NotReady: a secret with a store's address is missing.
    """

    def lease_s() -> float:
        return cast(services.Rollout, runtime.settings).lease

    def desired() -> Desired:
        return Desired(runtime.configs.current.config)

    stores = runtime.configs.current.config.stores
    # Short waits: a look that cannot have a connection soon is one to skip.
    postgres = Postgres(
        runtime.secrets.require(stores.postgres), "rollout", runtime.settings.postgres_connections, wait_s=2
    )
    metrics = Metrics(runtime.registry)
    store = PostgresRolloutStore(postgres)
    grants = Grants(lease_s, metrics)
    # Short waits here too: a look holds the writer's lock while it reads.
    valkey = connect(runtime.secrets.require(stores.valkey), _VALKEY_TIMEOUT_S)
    hearing = Hearing(ValkeyEvents(valkey), metrics)

    def settings() -> services.Rollout:
        return cast(services.Rollout, runtime.settings)

    async def send(url: str, body: bytes, headers: dict[str, str]) -> None:
        trusted = (urlsplit(url).hostname or "") in settings().webhook_hosts
        await asyncio.to_thread(post, url, body, headers, trusted, "services.rollout.webhook_hosts")

    teller = Teller(store, lambda: settings().notify, send, runtime.secrets.get, metrics)
    controller = Controller(store, grants, desired, lease_s, metrics, hearing, teller.wanted)
    operations = Operations(store, controller, desired, metrics, teller.wanted)

    async def start() -> None:
        await postgres.open()
        runtime.configs.on_change(lambda _: controller.wake())
        await controller.start()
        teller.start()

    async def drain() -> None:
        grants.close()

    async def stop() -> None:
        grants.close()
        await controller.stop()
        await teller.stop()
        await valkey.aclose()
        await postgres.close()

    servicing = Servicing(
        service_pb2_grpc.add_RolloutServiceServicer_to_server,
        RolloutServicer(runtime.rpc, operations, grants, metrics),
        FULL_NAME,
    )
    return ServiceApp(
        runtime.service,
        [servicing],
        start=start,
        drain=drain,
        stop=stop,
        problems=lambda: [] if grants.sure() else ["the database cannot be read, so no weights are granted"],
    )
