"""One service as a Ray Serve application.

`headrace_kit.hosting.ray_app:application` is the import path for a Serve config file (KubeRay's RayService too):

    applications:
      - name: inference
        route_prefix: /-/inference
        import_path: headrace_kit.hosting.ray_app:application
        args: {service: inference}

A route prefix is needed even where nothing is served over HTTP: Serve brings gRPC only to applications that have one.
The replica reads its environment and `headrace.yaml` itself, as the process host does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import Any

from pydantic import BaseModel, Field

from headrace_kit.config import ConfigStore, Environment
from headrace_kit.ending import end
from headrace_kit.hosting.http import HttpServer, OpsApp
from headrace_kit.hosting.node import node_servicing
from headrace_kit.hosting.ray_calls import mark_direct_calls, serve_methods
from headrace_kit.hosting.service import ServiceApp, ServiceRuntime, build_service
from headrace_kit.telemetry.logs import set_up_logs

_log = logging.getLogger(__name__)
_OPS_RETRY_S = 2.0

WITH_HTTP = "gateway"
"""The service whose HTTP application is Serve's ingress."""


class ApplicationArgs(BaseModel):
    """Arguments of `application`."""

    service: str = Field(description="Name of the service.")
    drain_s: float = Field(
        20, ge=0, le=300, description="Seconds for open calls to end when a replica stops. services.<name>.drain_s."
    )
    num_cpus: float = Field(0.01, ge=0, description="CPUs that Ray books for a replica; it may use more.")
    stderr: str | None = Field(None, description="File to which replicas append their logs; Ray's own by default.")


def application(args: dict[str, Any]) -> Any:
    """The `ray.serve.Application` of a service; `args` are those of `ApplicationArgs`, and are checked here.

    Serve looks for a model in the annotation itself and would not find it in one that is postponed.

    Raises:
        ValidationError: an argument is unknown to it, missing, or out of bounds.
    """
    return built(ApplicationArgs.model_validate(args))


def built(args: ApplicationArgs) -> Any:
    """As `application`, for callers in Python."""
    from ray import serve
    from ray.serve.schema import LoggingConfig

    decorate: Any = serve.deployment(
        name=args.service,
        # Admission is the services' own business (limits, overload): Ray's default of 5 would turn calls away.
        max_ongoing_requests=100_000,
        graceful_shutdown_timeout_s=args.drain_s,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=2,
        ray_actor_options={"num_cpus": args.num_cpus},
        logging_config=LoggingConfig(enable_access_log=False),
    )
    replica = serve.ingress()(HttpReplica) if args.service == WITH_HTTP else Replica
    return decorate(replica).bind(args.service, args.stderr)


def route_prefix(service: str) -> str:
    """Where an application stands in Serve's HTTP tree; all but the gateway answer 404 there."""
    return "/" if service == WITH_HTTP else f"/-/{service}"


class _Host:
    """Builds the service in the replica's event loop, starts it, and stops it at the end."""

    async def __init__(self, service: str, stderr: str | None) -> None:  # type: ignore[misc]  # Serve awaits it
        from ray.serve.grpc_util import RayServegRPCContext

        mark_direct_calls(RayServegRPCContext)
        env = Environment(runtime="ray")
        if stderr is not None:
            append_stderr_to(stderr)
        set_up_logs(service, env.log_level)
        self._tasks: list[asyncio.Task[None]] = []
        self._ops: HttpServer | None = None
        self._closed = True
        self._runtime = ServiceRuntime(service, env, ConfigStore.from_file(env.config))
        try:
            self._app: ServiceApp = build_service(self._runtime)
            for name, method in serve_methods([*self._app.servicers, node_servicing(self._runtime, self._app)]).items():
                setattr(self, name, method)
            self._runtime.start()
            await self._app.start()
        except BaseException:
            # Serve only tells that the deployment failed; its own logs go with the session.
            _log.exception("%s does not start", service)
            await self._runtime.close()
            raise
        self._closed = False
        self._tasks = [asyncio.create_task(self._runtime.configs.follow()), asyncio.create_task(self._open_ops())]
        _log.info("serving")

    async def check_health(self) -> None:
        """Serve replaces a replica whose check fails. Readiness is not health: an away store is no reason to die."""

    async def _open_ops(self) -> None:
        """Open the ops port; an older replica on this machine may hold it for as long as it drains."""
        runtime, listen = self._runtime, self._runtime.settings.listen
        port = runtime.env.port(f"{runtime.service}-ops") if listen.ops_port is None else listen.ops_port
        while True:
            ops = HttpServer(
                OpsApp(self._app.problems, runtime.registry).__rsgi__, listen.host or runtime.env.host, port
            )
            try:
                await ops.start()
            except OSError as error:
                _log.warning("ops port: %s", error)
                await asyncio.sleep(_OPS_RETRY_S)
            else:
                self._ops = ops
                return

    async def __del__(self) -> None:
        # Serve awaits this once the open calls have ended or their time is up.
        if self._closed:
            return
        self._closed = True
        _log.info("stopping")
        await end(*self._tasks)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._app.drain(), 1)
        if self._ops is not None:
            await self._ops.stop()
        await self._runtime.flush()  # while the app still works: tracing receives its own spans
        await self._app.stop()
        await self._runtime.close()


class Replica(_Host):
    """A service that is called over gRPC only."""

    async def __call__(self, _: Any) -> Any:
        """Nothing is served over HTTP."""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse("not found", status_code=404)


class HttpReplica(_Host):
    """The service whose HTTP application Serve's ingress calls."""

    def __serve_build_asgi_app__(self) -> Any:
        if self._app.http is None:
            raise ValueError(f"{self._app.name} has no HTTP application")
        return WithoutLifespan(self._app.http.asgi)


class WithoutLifespan:
    """An ASGI application as Serve wants it: lifespan events are answered here, as the replica starts the service."""

    def __init__(self, asgi: Any) -> None:
        self._asgi = asgi

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or stay for the lifespan."""
        if scope["type"] != "lifespan":
            await self._asgi(scope, receive, send)
            return
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return


def append_stderr_to(path: str) -> None:
    """Send this process's standard error to a file, or to where an open `/proc/<pid>/fd/2` leads.

    It stays as it is where that cannot be opened (a socket, for example).
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        # Ray has put a stream of its own in its place.
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
