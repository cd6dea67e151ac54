"""Wires the rollout service."""

from __future__ import annotations

import secrets
from typing import cast

from headrace_kit.config import services
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_kit.telling import Teller, poster, telling
from headrace_protos.rollout.v1 import service_pb2_grpc
from headrace_rollout.adapters.asked_pods import AskedPods, Lookout
from headrace_rollout.adapters.gateway import GatewayPlatform
from headrace_rollout.adapters.inference import InferenceModels
from headrace_rollout.adapters.postgres import PostgresRolloutStore
from headrace_rollout.adapters.suites import ConfigSuites
from headrace_rollout.adapters.valkey_events import ValkeyEvents
from headrace_rollout.domain.calibrating import Calibrating, Labels
from headrace_rollout.domain.candidates import Candidates
from headrace_rollout.domain.controller import Controller
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.evaluating import Evaluating, Suites
from headrace_rollout.domain.grants import Grants
from headrace_rollout.domain.hearing import Hearing
from headrace_rollout.domain.news import shaped
from headrace_rollout.domain.operations import Operations
from headrace_rollout.domain.routing import Routing
from headrace_rollout.grpc_api import FULL_NAME, RolloutServicer
from headrace_rollout.metrics import Metrics
from headrace_rollout.ports import Routes
from headrace_rollout.resources.operator import Operator
from headrace_rollout.resources.reconciler import Reconciler

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

    send = poster(lambda: settings().webhook_hosts, "services.rollout.webhook_hosts")
    teller = Teller(
        store.news,
        shaped,
        lambda: settings().notify,
        send,
        runtime.secrets.get,
        lambda outcome: metrics.told.labels(outcome).inc(),
    )
    news = telling(teller)
    controller = Controller(store, grants, desired, lease_s, metrics, hearing, teller.wanted)
    suites = ConfigSuites(runtime.configs)
    gateway = runtime.peer("gateway")

    def platform(suite: str) -> GatewayPlatform:
        return GatewayPlatform(gateway, suites.tenant(suite))

    evaluating = Evaluating(store.suites, Suites(suites.load, platform), secrets.token_hex(8), controller.wake)
    calibrating = Calibrating(
        store.suites,
        Labels(suites.labels, lambda tenant: GatewayPlatform(gateway, tenant)),
        secrets.token_hex(8),
        controller.wake,
    )
    controller.followers += [evaluating.follow, calibrating.follow]
    controller.candidates = Candidates(InferenceModels(runtime.peer("inference")), desired, controller.wake, lease_s)
    candidates = controller.candidates
    operations = Operations(store, controller, desired, metrics, suites, teller.wanted)

    operators: list[Operator] = []

    async def start() -> None:
        await postgres.open()
        runtime.configs.on_change(lambda _: controller.wake())
        await controller.start()
        news.start()
        if settings().model_rollouts:
            from headrace_rollout.adapters.kubernetes_api import KubernetesModelRollouts  # heavy: only if wanted

            api = KubernetesModelRollouts.in_cluster(settings().model_rollouts_lease)
            operators.append(Operator(api, Reconciler(api, operations)))
            operators[0].start()
        take_routes()
        runtime.configs.on_change(lambda _: take_routes())

    def kubernetes() -> Routes:
        from headrace_rollout.adapters.kubernetes_routes import KubernetesRoutes  # heavy: only if wanted

        return KubernetesRoutes.in_cluster()

    def take_routes() -> None:
        wanted: dict[str, services.Routes | services.Pods] = {}
        wanted.update(settings().routes.items())
        wanted.update(settings().pods.items())
        if controller.routing is not None:
            controller.routing.take(wanted)
        elif wanted:  # a canary is there, perhaps since a config that came later than this process
            lookout = Lookout(kubernetes, AskedPods(lambda: runtime.canary("guardrails")))
            routing = Routing(lookout, wanted, controller.wake)
            controller.routing, grants.in_force = routing, routing.weight
            controller.followers.append(routing.follow)
            routing.start()

    async def drain() -> None:
        grants.close()

    async def stop() -> None:
        grants.close()
        for operator in operators:
            await operator.stop()
        await controller.stop()
        if controller.routing is not None:
            await controller.routing.stop()
        await evaluating.stop()
        await calibrating.stop()
        await candidates.stop()
        await news.stop()
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
