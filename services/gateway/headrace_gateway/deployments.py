"""What admins do with deployments, for both transports: see how they are, load, unload and warm them.

Those of endpoints outside are only seen: nothing of them can be loaded here.

A load of a large model takes minutes. It belongs to inference, which goes on with it when the caller, or this gateway,
leaves; who does not want to hold a connection meanwhile asks without `wait` and looks at the state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Literal

from headrace_gateway.context import RequestContext, apart
from headrace_gateway.ports import Services
from headrace_kit.config.deployments import OpenAiDeployment
from headrace_kit.config.nearest import nearest
from headrace_kit.ending import end
from headrace_kit.errors import BadInput, HeadraceError, NotFound
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import messages_pb2 as inference

Action = Literal["load", "unload", "warm"]

ACTION_S = 3600.0
"""Longest time that an action may take."""

_SOON_S = 0.5
"""Without `wait`: how long an answer is awaited that may be a refusal."""

_CALLS: dict[str, tuple[str, Any]] = {
    "load": ("LoadDeployment", inference.LoadDeploymentRequest),
    "unload": ("UnloadDeployment", inference.UnloadDeploymentRequest),
    "warm": ("WarmDeployment", inference.WarmDeploymentRequest),
}
_SAME = (
    "name",
    "engine",
    "model",
    "state",
    "detail",
    "tasks",
    "context_tokens",
    "adapters",
    "accepts",
    "version",
    "load_error",
)
_SAME_LOAD = ("waiting", "running", "slots", "tokens_per_second", "first_token_ms", "output_token_ms", "wait_ms")
_log = logging.getLogger(__name__)


class DeploymentAdmin:
    """Deployments as inference has them.

    Args:
        services: reaches inference.
        soon_s: without `wait`, seconds for which an answer is awaited that may be a refusal.
    """

    def __init__(self, services: Services, soon_s: float = _SOON_S) -> None:
        self._services = services
        self._soon_s = soon_s
        self._running: set[asyncio.Task[pb.Deployment]] = set()

    async def list(self, ctx: RequestContext, names: Sequence[str] = ()) -> list[pb.Deployment]:
        """Deployments with state and load, by name. Default: all.

        Raises:
            NotFound: there is none of a name.
            HeadraceError: inference failed or cannot be reached.
        """
        # One after the other: both are steps of one request, and each is quick.
        found = await self._services.call(ctx, "inference", "ListDeployments", inference.ListDeploymentsRequest())
        loads = await self._services.call(ctx, "inference", "GetLoad", inference.GetLoadRequest())
        load_of = {load.deployment: load for load in loads.loads}
        known = {entry.name: _shown(entry, load_of.get(entry.name)) for entry in found.deployments}
        for name, config in ctx.table.config.deployments.items():
            if isinstance(config, OpenAiDeployment):
                known[name] = _outside(name, config)
        for name in names:
            if name not in known:
                raise NotFound(
                    f"no deployment {name[:64]!r}{nearest(name[:64], known)}",
                    code="deployment_not_found",
                    param="deployment",
                )
        return [known[name] for name in sorted(names or known)]

    async def act(self, ctx: RequestContext, action: Action, name: str, *, wait: bool) -> pb.Deployment:
        """Load, unload or warm a deployment.

        Args:
            ctx: the request, whose deadline ends the waiting and not the action.
            action: what to do.
            name: of the deployment.
            wait: answer when it is done, else with the state right after it began.

        Raises:
            NotFound: there is no such deployment.
            BadInput: it is an endpoint outside.
            HeadraceError: it could not be done, and why; without `wait` only what is known at once.
        """
        if isinstance(ctx.table.config.deployments.get(name), OpenAiDeployment):
            raise BadInput(
                f"deployment {name!r} is an endpoint outside: nothing of it is loaded here",
                code="unsupported",
                param="deployment",
            )
        # Apart: the look has a short limit of its own, which must not become the request's.
        await self.list(apart(ctx), [name])
        _log.info("key %s of %s asked to %s deployment %s", ctx.identity.key_id, ctx.identity.tenant, action, name)
        if wait:
            return await self._call(ctx, action, name)
        task = asyncio.create_task(self._call(apart(ctx), action, name))
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=self._soon_s)
        if done:
            return task.result()
        [now] = await self.list(ctx, [name])
        return now

    async def stop(self) -> None:
        """Wait for no more answers; inference goes on with what it was asked for."""
        await end(*self._running)

    async def _call(self, ctx: RequestContext, action: Action, name: str) -> pb.Deployment:
        method, request = _CALLS[action]
        status = await self._services.call(
            ctx, "inference", method, request(deployment=name), timeout_s=ctx.elapsed_us() / 1e6 + ACTION_S
        )
        return _shown(status, None)

    def _ended(self, task: asyncio.Task[pb.Deployment]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, HeadraceError):
            _log.warning("what was asked of a deployment failed: %s", error.message)
        elif error is not None:
            _log.error("what was asked of a deployment failed", exc_info=error)


def _outside(name: str, config: OpenAiDeployment) -> pb.Deployment:
    return pb.Deployment(
        name=name,
        engine=config.engine,
        model=config.model,
        state="ready",
        detail=f"an endpoint outside, {config.address}: it is not asked before a request needs it",
        tasks=[config.task],
        context_tokens=config.context_tokens,
        accepts=config.accepts,
    )


def _shown(status: inference.DeploymentStatus, load: inference.DeploymentLoad | None) -> pb.Deployment:
    shown = pb.Deployment(**{name: getattr(status, name) for name in _SAME})
    if load is not None:
        shown.load.CopyFrom(pb.DeploymentLoad(**{name: getattr(load, name) for name in _SAME_LOAD}))
        if load.HasField("kv_cache_used"):
            shown.load.kv_cache_used = load.kv_cache_used
    return shown
