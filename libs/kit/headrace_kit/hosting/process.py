"""The process host: grpc.aio, HTTP and the ops port of one service in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Sequence
from typing import Any

import uvloop
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from headrace_kit.config import ConfigStore, Environment
from headrace_kit.ending import end
from headrace_kit.hosting.http import HttpServer, OpsApp
from headrace_kit.hosting.node import node_servicing
from headrace_kit.hosting.service import ServiceApp, ServiceRuntime, Servicing, build_service
from headrace_kit.rpc.client import MAX_MESSAGE_BYTES
from headrace_kit.telemetry.logs import set_up_logs

_log = logging.getLogger(__name__)
CONNECTION_AGE_MS = 300_000
SILENT_S, LONGER_S = 1.0, 10.0
"""A process that lingers goes once nothing came for so long, or so many seconds after its time."""

_TURN_S = 0.1
"""What came in before the ports were closed gets its turn before the service takes nothing more."""

_LAST_WORDS_S = 3.0
"""What calls get beyond their time, to say why they end."""


def run(service: str) -> None:
    """Serve `service` until SIGTERM or SIGINT, then drain and return.

    Raises:
        ConfigInvalid: the config file cannot be used.
        OSError: a port is taken.
    """
    env = Environment()
    set_up_logs(service, env.log_level)
    uvloop.run(_serve(service, env))


async def _serve(service: str, env: Environment) -> None:
    runtime = ServiceRuntime(service, env, ConfigStore.from_file(env.config))
    app = build_service(runtime)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    host = ProcessHost(runtime, app)
    follow = asyncio.create_task(runtime.configs.follow())
    try:
        await host.start()
        # What is there now stays: collections need not look at it again. The rest is looked at less often, as most of
        # what a request makes is gone by itself when the request is.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        _log.info("serving")
        await stopped.wait()
        _log.info("draining")
    finally:
        await end(follow)
        await host.stop()
        await runtime.close()


class ProcessHost:
    """Runs a built service in this event loop. Tests use it too."""

    def __init__(self, runtime: ServiceRuntime, app: ServiceApp) -> None:
        self._runtime = runtime
        self._app = app
        self._closed = "starting"
        """Why nobody should come; empty while all ports are open."""
        self._health = _Health()
        self._grpc: aio.Server | None = None
        self._https: list[HttpServer] = []
        self.grpc_port = 0

    def problems(self) -> list[str]:
        """Why the service is not ready; empty when it is."""
        return [self._closed] if self._closed else self._app.problems()

    async def start(self) -> None:
        """Listen and start the service. Raises OSError when a port is taken."""
        name, env, listen = self._runtime.service, self._runtime.env, self._runtime.settings.listen
        host = listen.host or env.host
        self._grpc = _grpc_server([*self._app.servicers, node_servicing(self._runtime, self._app)], self._health)
        wanted = env.port(f"{name}-grpc") if listen.grpc_port is None else listen.grpc_port
        self.grpc_port = self._grpc.add_insecure_port(f"{host}:{wanted}")
        ops_port = env.port(f"{name}-ops") if listen.ops_port is None else listen.ops_port
        self._https.append(HttpServer(OpsApp(self.problems, self._runtime.registry).__rsgi__, host, ops_port))
        self._runtime.start()
        await self._app.start()
        if self._app.http is not None:
            port = env.port(f"{name}-http") if listen.http_port is None else listen.http_port
            self._https.append(HttpServer(self._app.http.rsgi, host, port, self._app.http.limits))
        await self._grpc.start()
        for server in self._https:
            await server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._closed = ""

    async def stop(self) -> None:
        """Readiness off, `linger_s` for all to hear of it, `drain_s` for open calls, then everything is closed.

        What comes after lingering meets a closed port, or GOAWAY where it is connected, and goes elsewhere by itself:
        nobody is let in to be refused.
        """
        self._closed = "draining"
        for server in self._https[1:]:
            server.leave()
        with contextlib.suppress(Exception):
            await self._health.enter_graceful_shutdown()
        await self._linger()
        drain_s = self._runtime.settings.drain_s
        for server in self._https[1:]:
            await server.refuse()
        closing: list[Awaitable[None]] = [server.stop(drain_s + _LAST_WORDS_S) for server in self._https[1:]]
        if self._grpc is not None:
            closing.append(self._grpc.stop(drain_s + _LAST_WORDS_S))
        closed = asyncio.gather(*closing)
        await asyncio.sleep(_TURN_S)
        self._health.hang_up()
        await asyncio.gather(closed, self._drain(drain_s))
        await self._runtime.flush()  # while the app still works: tracing receives its own spans
        for server in self._https[:1]:
            await server.stop()
        await self._app.stop()

    async def _drain(self, drain_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._app.drain(), drain_s)

    async def _linger(self) -> None:
        """Serve on until everybody has heard of the end; longer while requests come of somebody who has not yet."""
        linger_s = self._runtime.env.linger_s
        await asyncio.sleep(linger_s)
        latest = time.monotonic() + (LONGER_S if linger_s else 0)
        while True:
            silent_s = min((server.silent_s() for server in self._https[1:]), default=SILENT_S)
            left_s = min(SILENT_S - silent_s, latest - time.monotonic())
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)


class _Health(health.aio.HealthServicer):  # type: ignore[misc]
    """Health whose watchers can be sent away: they would hold the server open for as long as calls may take."""

    def __init__(self) -> None:
        super().__init__()
        self._watching: set[asyncio.Task[Any]] = set()
        self._hung_up = False

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Health now, and whenever it changes, until `hang_up`."""
        task = asyncio.current_task()
        assert task is not None
        self._watching.add(task)
        try:
            await super().Watch(request, context)
        except asyncio.CancelledError:
            if not self._hung_up:
                raise
        finally:
            self._watching.discard(task)

    def hang_up(self) -> None:
        """End all watching."""
        self._hung_up = True
        for task in self._watching:
            task.cancel()


def _grpc_server(servicers: Sequence[Servicing], health_servicer: _Health) -> aio.Server:
    server = aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # Callers connect anew now and then, and so find replicas that were added since. Open calls go on.
            ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ]
    )
    for servicing in servicers:
        servicing.add(servicing.servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = [servicing.full_name for servicing in servicers]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return server


__all__ = ["ProcessHost", "run"]
