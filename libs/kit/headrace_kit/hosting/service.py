"""What a service gives its host, and what the host gives a service."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

from headrace_kit.config import ConfigStore, Environment, Secrets
from headrace_kit.config.services import Service
from headrace_kit.hosting.http import HttpLimits
from headrace_kit.rpc.client import Peer
from headrace_kit.rpc.identity import Signer, Verifier
from headrace_kit.rpc.servicer import RpcRuntime
from headrace_kit.telemetry.tracing import VERSION, make_provider, make_tracer, resource_of

if TYPE_CHECKING:
    from headrace_kit.telemetry.metrics import MetricsExport


@dataclass(frozen=True, slots=True)
class Servicing:
    """A servicer and how to add it to a grpc.aio server.

    `full_name` is the proto service, for example `headrace.inference.v1.InferenceService`.
    """

    add: Callable[[Any, Any], None]
    servicer: Any
    full_name: str


@dataclass(frozen=True, slots=True)
class HttpApp:
    """An HTTP application with a face for each host: `rsgi` for granian, `asgi` for Ray Serve.

    `limits` are granian's; Ray Serve's proxy has its own.
    """

    rsgi: Any
    asgi: Any
    limits: HttpLimits = field(default_factory=HttpLimits)


async def _nothing() -> None:
    return None


def _always(digest: str) -> bool:
    return True


@dataclass(frozen=True)
class ServiceApp:
    """A built service. The host calls `start` on the event loop that serves, and `stop` at the end.

    `drain` is called first at the end: stop taking work, let open work finish; it returns when that is done.
    `problems` lists why the service is not ready; an empty list means ready. It must not block.
    `has` says whether a snapshot, by its hash, can be served: false while what it newly names is being made ready. The
    gateway does not switch to a snapshot before. It must not block.
    """

    name: str
    servicers: Sequence[Servicing]
    http: HttpApp | None = None
    start: Callable[[], Awaitable[None]] = _nothing
    drain: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    problems: Callable[[], list[str]] = field(default=list)
    has: Callable[[str], bool] = _always


class ServiceRuntime:
    """What a process offers the service in it. `headrace_<name>.app.build(runtime)` makes the `ServiceApp`."""

    def __init__(self, service: str, env: Environment, configs: ConfigStore) -> None:
        self.service = service
        self.env = env
        self.configs = configs
        self.secrets = Secrets(env.secrets_path, env.variables())
        self.registry = CollectorRegistry()
        signing = env.secrets_path / "signing"
        self.signer = Signer(service, signing)
        telemetry = configs.current.config.telemetry
        self.otlp_address = telemetry.otlp_address or f"{env.host}:{env.port('tracing-otlp')}"
        self._provider = make_provider(service, self.otlp_address, telemetry.sample)
        self.tracer = make_tracer(self._provider)
        self.rpc = RpcRuntime.create(service, Verifier(service, signing), self.tracer, self.registry)
        self._peers: dict[str, Peer] = {}
        self._metrics: MetricsExport | None = None
        self._started = time.monotonic()

    @property
    def settings(self) -> Service:
        """This service's section of the newest snapshot."""
        return cast(Service, getattr(self.configs.current.config.services, self.service))

    def address(self, service: str) -> str:
        """host:port of another service's gRPC. On Ray all services share Serve's port."""
        named = getattr(self.configs.current.config.services, service).address
        port = "gateway-grpc" if self.env.runtime == "ray" else f"{service}-grpc"
        return named or f"{self.env.host}:{self.env.port(port)}"

    def peer(self, service: str, idempotent: Iterable[str] = ()) -> Peer:
        """The connection to another service; one per process, made at the first call."""
        if service not in self._peers:
            self._peers[service] = Peer(service, self.address(service), self.signer, idempotent)
        return self._peers[service]

    def canary(self, service: str, idempotent: Iterable[str] = ()) -> Peer | None:
        """The connection to a second release of another service, where the newest snapshot says that it is; None where
        there is none. One per address and process, made at the first call."""
        address = getattr(self.configs.current.config.services, service).canary_address
        if address is None:
            return None
        key = f"{service} {address}"
        if key not in self._peers:
            self._peers[key] = Peer(service, address, self.signer, idempotent)
        return self._peers[key]

    def uptime_s(self) -> float:
        """Seconds since this process began to build the service."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Begin to send metrics, where the config names a receiver of them."""
        telemetry = self.configs.current.config.telemetry
        if telemetry.metrics_otlp_address is not None:
            from headrace_kit.telemetry.metrics import MetricsExport

            self._metrics = MetricsExport(
                self.registry, resource_of(self.service), telemetry.metrics_otlp_address, telemetry.metrics_every
            )
            self._metrics.start()

    async def flush(self) -> None:
        """Send the spans of what was served so far. A receiver that is away costs a few seconds."""
        await asyncio.to_thread(self._provider.force_flush)

    async def close(self) -> None:
        """Close the connections and flush what is left of telemetry."""
        for peer in self._peers.values():
            await peer.close()
        if self._metrics is not None:
            await self._metrics.stop()
        self._provider.shutdown()


def build_service(runtime: ServiceRuntime) -> ServiceApp:
    """Import the service's package and build it."""
    module = importlib.import_module(f"headrace_{runtime.service}.app")
    app: ServiceApp = module.build(runtime)
    return app


__all__ = ["VERSION", "HttpApp", "ServiceApp", "ServiceRuntime", "Servicing", "build_service"]
