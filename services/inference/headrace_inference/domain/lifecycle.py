"""Loading, warming, taking over, draining and unloading.

    loading -> warming -> ready -> draining -> unloaded
       \\__________\\________________> failed, tried again with growing pauses

One deployment is loaded at a time, in the order of the config: two that load together need the memory of both at their
worst. A deployment that serves already goes on serving while its next version is loaded and warmed beside it; when that
fails nothing has changed but `load_error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from headrace_inference.domain.deployments import Deployment, Deployments, Serving, wakes_within
from headrace_inference.domain.warm import warm
from headrace_inference.ports import Artefacts, Preparation
from headrace_kit.config.deployments import BaseDeployment, outside
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.config.used import used_deployments
from headrace_kit.ending import end
from headrace_kit.errors import BadInput, HeadraceError, NotReady

_log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_S = 5.0
LAST_PAUSE_S = 300.0
"""Pauses between two loads of a deployment that failed; they double."""

GRACE_S = 10.0
"""How long a deployment that left the config serves what was admitted under the older one."""

PATIENCE_S = 60.0
"""How long a new config is held back from the gateway while its deployments are loaded: a download may take hours."""

_READ_PER_REQUEST = ("price", "warmup", "residency", "tags", "internal", "wakes_within")
"""Options that need no load: this service and the gateway read them when they need them."""


class Lifecycle:
    """Brings the deployments to what the config says, in the background, and does what is asked for.

    Args:
        deployments: filled and kept by this.
        snapshot: the first config.
        artefacts: files and renderings.
        drain_s: longest wait for requests in work before a deployment is unloaded, in seconds.
        grace_s: see `GRACE_S`.
        clock: seconds, never running backwards.
    """

    def __init__(
        self,
        deployments: Deployments,
        snapshot: Snapshot,
        artefacts: Artefacts,
        drain_s: float,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployments = deployments
        self._snapshot = snapshot
        self._artefacts = artefacts
        self._drain_s = drain_s
        self._grace_s = grace_s
        self._clock = clock
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._plans: dict[str, _Plan] = {}
        self._settled = asyncio.Event()
        self._used: frozenset[str] = frozenset()
        self._applied = clock() - PATIENCE_S  # the config that a process starts with is nobody's to wait for
        self._take(snapshot)

    def start(self) -> None:
        """Begin to load what the config names."""
        self._spawn(self._run())

    async def stop(self) -> None:
        """End what runs in the background, and free what is in this process; Triton's models stay loaded."""
        await end(*self._tasks)
        for deployment in self._deployments:
            if not deployment.engine.takes_over:
                with contextlib.suppress(HeadraceError):
                    await deployment.engine.unload()
            await deployment.engine.close()

    def apply(self, snapshot: Snapshot) -> None:
        """Take a new config, in the background: what is new or changed is loaded, what is gone drained and unloaded."""
        self._snapshot = snapshot
        self._applied = self._clock()
        self._take(snapshot)

    def has(self, digest: str) -> bool:
        """Whether a config can be served: the newest once each of its new deployments was loaded, or failed to."""
        if digest != self._snapshot.hash or self._settled.is_set():
            return True
        return self._clock() - self._applied >= PATIENCE_S

    async def until_settled(self) -> None:
        """Return when everything that the newest config asks for was tried."""
        await self._settled.wait()

    async def load(self, name: str) -> Deployment:
        """Load a deployment, anew if it serves already; returns when it is ready.

        Raises:
            NotFound: no such deployment.
            HeadraceError: why it could not be loaded; what served before goes on.
        """
        deployment = self._deployments.get(name)
        self._plans[name].held = False
        return await self._exclusively(self._load(deployment, anew=True))

    async def warm(self, name: str) -> Deployment:
        """Run a deployment's warm-up prompts again. Raises as `load`."""
        deployment = self._deployments.get(name)
        return await self._exclusively(self._warm_again(deployment))

    async def unload(self, name: str) -> Deployment:
        """Refuse new requests, wait for those in work, and free the weights. It stays so until it is loaded.

        Raises:
            NotFound: no such deployment.
            Upstream: the engine refused.
        """
        deployment = self._deployments.get(name)
        self._plans[name].held = True
        return await self._exclusively(self._unload(deployment))

    async def refresh(self) -> None:
        """Ask every engine how it is; call it every second or so. What failed is tried again when its pause is over."""
        known = list(self._deployments)
        await asyncio.gather(*(self._look(deployment) for deployment in known))

    def _take(self, snapshot: Snapshot) -> None:
        wanted = {name: one for name, one in snapshot.config.deployments.items() if not outside(one)}
        before, self._used = self._used, used_deployments(snapshot.config)
        for name, config in wanted.items():
            deployment = self._deployments.find(name)
            if deployment is None:
                deployment = self._deployments.add(name, config, snapshot.config.catalogue)
                self._plans[name] = _Plan()
            plan = self._plans[name]
            if deployment.leaving:
                deployment.leaving = False
                plan.leave(None)
                plan.due = deployment.admission.draining or deployment.phase == "unloaded"
            if not same_load(deployment.wanted, config):
                plan.due = not (deployment.ready and same_load(deployment.config, config))
                plan.held = False
                deployment.load_error = ""
            elif plan.held and name in self._used - before:
                plan.held, plan.due = False, True  # it was unloaded when nobody needed it
            elif deployment.wanted != config and same_load(deployment.config, config):
                deployment.serve(_with_config(deployment.serving, config), snapshot.config.catalogue)
            deployment.wanted = config
        for deployment in self._deployments:
            if deployment.name not in wanted and not deployment.leaving:
                deployment.leaving = True
                self._plans[deployment.name].leave(self._spawn(self._retire(deployment)))
        self._settled.clear()
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            for deployment in self._deployments:
                plan = self._plans.get(deployment.name)
                if plan is not None and plan.due and not deployment.leaving:
                    with contextlib.suppress(HeadraceError):  # it is in the deployment's state, and was logged
                        await self._exclusively(self._load(deployment, anew=False))
                elif plan is not None and plan.cold and deployment.phase == "ready":
                    with contextlib.suppress(HeadraceError):
                        await self._exclusively(self._warm_again(deployment))
            if not self._wake.is_set():
                self._settled.set()
            await self._wake.wait()

    async def _load(self, deployment: Deployment, *, anew: bool) -> Deployment:
        plan = self._plans[deployment.name]
        plan.due, plan.busy = False, True
        try:
            return await self._load_next(deployment, plan, anew)
        finally:
            plan.busy = False

    async def _load_next(self, deployment: Deployment, plan: _Plan, anew: bool) -> Deployment:
        config, snapshot = deployment.wanted, self._snapshot
        beside = deployment.ready
        if not beside:
            deployment.phase, deployment.detail = "loading", ""
        _log.info("loading deployment %s%s", deployment.name, " beside the version that serves" if beside else "")
        try:
            serving = await self._load_and_warm(deployment, config, snapshot, anew and beside, beside)
        except Exception as error:
            self._load_failed(deployment, plan, error, beside)
            raise
        except BaseException:
            plan.due = True  # the service stops in the middle
            raise
        old = deployment.serving
        deployment.serve(serving, snapshot.config.catalogue)
        deployment.version += 1
        deployment.phase, deployment.detail, deployment.load_error = "ready", "", ""
        deployment.health = await serving.engine.health()
        plan.went_well()
        deployment.wake()
        deployment.metrics.loaded("ok")
        _log.info("deployment %s is ready, version %d", deployment.name, deployment.version)
        if old.engine is not serving.engine and not old.engine.takes_over:
            self._spawn(self._unload_when_left(deployment.name, old))
        return deployment

    async def _load_and_warm(
        self, deployment: Deployment, config: BaseDeployment, snapshot: Snapshot, anew: bool, beside: bool
    ) -> Serving:
        """The next version, ready to serve; when that fails everything is as before."""
        prepared = await self._artefacts.prepare(snapshot, deployment.name, anew=anew)
        # Before its first version the deployment has an engine object that nothing was loaded into.
        unused = not deployment.version and same_load(deployment.config, config)
        engine = deployment.engine if unused else self._deployments.make_engine(deployment.name, config)
        loaded = False
        try:
            there = engine.takes_over and not anew and not prepared.changed and await _is_ready(engine)
            if not there:
                await engine.load()
            loaded = True
            if not beside:
                deployment.phase = "warming"
            await warm(engine, config)
        except BaseException:
            await asyncio.shield(self._undo(engine, prepared, loaded, beside))
            raise
        await prepared.keep()
        return Serving(engine, config)

    async def _undo(self, engine: Any, prepared: Preparation, loaded: bool, beside: bool) -> None:
        await prepared.undo()
        with contextlib.suppress(HeadraceError):
            if not engine.takes_over:
                await engine.unload()
            elif loaded and beside and prepared.changed:
                await engine.load()  # what served before is the newest again

    def _load_failed(self, deployment: Deployment, plan: _Plan, error: Exception, beside: bool) -> None:
        message = error.message if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        deployment.metrics.loaded("failed")
        if beside:
            deployment.load_error = message
            _log.error("deployment %s goes on with its older version: %s", deployment.name, message)
        else:
            deployment.phase, deployment.detail = "failed", message
            _log.error("deployment %s could not be loaded: %s", deployment.name, message)
        if not beside or isinstance(error, NotReady):
            plan.try_again(self._clock())

    async def _warm_again(self, deployment: Deployment) -> Deployment:
        self._plans[deployment.name].cold = False
        if not deployment.ready:
            raise NotReady(f"deployment {deployment.name!r} is {deployment.shown_state.state}", retry_after_s=1)
        await warm(deployment.engine, deployment.config)
        return deployment

    async def _unload(self, deployment: Deployment) -> Deployment:
        plan = self._plans[deployment.name]
        plan.due, plan.retry_at = False, None
        deployment.admission.draining = True
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(deployment.admission.drained(), self._drain_s)
            await deployment.engine.unload()
            deployment.phase, deployment.detail = "unloaded", ""
            deployment.health = await deployment.engine.health()
        finally:
            deployment.admission.draining = False
        _log.info("deployment %s is unloaded", deployment.name)
        return deployment

    async def _unload_when_left(self, name: str, old: Serving) -> None:
        await old.left()
        try:
            await old.engine.unload()
        except BadInput:
            pass  # a server of its own keeps its weights, and what serves now may be on it
        except HeadraceError as error:
            _log.error("the old version of deployment %s could not be unloaded: %s", name, error.message)
        await old.engine.close()

    async def _retire(self, deployment: Deployment) -> None:
        await asyncio.sleep(self._grace_s)
        async with self._lock:
            try:
                if deployment.phase != "unloaded":
                    await self._unload(deployment)
            except BadInput:
                pass  # a server of its own keeps its weights
            except HeadraceError as error:
                _log.error("deployment %s could not be unloaded: %s", deployment.name, error.message)
            await deployment.engine.close()
            await self._artefacts.remove(deployment.name)
            self._deployments.drop(deployment.name)
            del self._plans[deployment.name]

    async def _look(self, deployment: Deployment) -> None:
        health, stats = await asyncio.gather(deployment.engine.health(), deployment.engine.stats())
        before, deployment.health, deployment.stats = deployment.health, health, stats
        if stats.draft_acceptance is not None and deployment.speculation is not None:
            deployment.speculation.hear(stats.draft_acceptance)
        plan = self._plans.get(deployment.name)
        if deployment.sleep.overslept():
            deployment.admission.give_up(lambda: _overslept(deployment))
        if plan is None or plan.held or plan.due or plan.busy:
            return
        if health.state == "failed" and deployment.phase in ("ready", "failed"):
            deployment.doze()
        elif deployment.sleep.asleep and not (health.state == "ready" and deployment.version):
            plan.due = True  # its server is back, and has nothing loaded that is known to serve
        elif deployment.sleep.asleep:
            deployment.phase, deployment.detail = "ready", ""
            deployment.wake()
        if deployment.phase == "ready":
            if health.state != before.state:
                _log.info("deployment %s: its engine is %s %s", deployment.name, health.state, health.detail)
                plan.cold = health.state == "ready"
            plan.watch(self._clock(), health.state == "failed")
        elif deployment.phase == "failed" and health.state == "ready" and deployment.version:
            deployment.phase, deployment.detail = "ready", ""  # it came back by itself
            plan.went_well()
            plan.cold = True
        if plan.is_over(self._clock()):
            plan.due = True
        if plan.due or plan.cold:
            self._wake.set()

    async def _exclusively(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work that nothing else runs beside; it goes on when the caller leaves."""

        async def locked() -> T:
            try:
                async with self._lock:
                    return await work
            finally:
                work.close()  # where it never began

        return await asyncio.shield(self._spawn(locked()))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _overslept(deployment: Deployment) -> NotReady:
    return NotReady(
        f"deployment {deployment.name!r} was to be woken, and its server did not start within "
        f"{wakes_within(deployment.wanted):g} s: "
        f"{deployment.health.detail}",
        code="asleep",
        retry_after_s=10,
    )


class _Plan:
    """What is to be done with a deployment next."""

    def __init__(self) -> None:
        self.due = True
        """To be loaded now."""
        self.cold = False
        """To be warmed: its engine was away."""
        self.held = False
        """Unloaded on purpose."""
        self.busy = False
        """Being loaded."""
        self.retry_at: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._leaving: asyncio.Task[None] | None = None

    def went_well(self) -> None:
        """No further try is needed."""
        self.retry_at, self._pause_s = None, FIRST_PAUSE_S

    def try_again(self, now: float) -> None:
        """Plan the next try."""
        self.retry_at = now + self._pause_s
        self._pause_s = min(LAST_PAUSE_S, 2 * self._pause_s)

    def watch(self, now: float, failed: bool) -> None:
        """The engine should serve: plan a try when it does not, forget it when it does again."""
        if not failed:
            self.went_well()
        elif self.retry_at is None:
            self.try_again(now)

    def is_over(self, now: float) -> bool:
        """Whether a pause ended now."""
        if self.retry_at is None or now < self.retry_at:
            return False
        self.retry_at = None
        return True

    def leave(self, task: asyncio.Task[None] | None) -> None:
        """The deployment leaves the config, or (None) is back in it."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = task


def same_load(one: BaseDeployment, other: BaseDeployment) -> bool:
    """Whether two configs of a deployment differ in nothing that a load would change."""
    if type(one) is not type(other):
        return False
    return all(
        getattr(one, name) == getattr(other, name) for name in type(one).model_fields if name not in _READ_PER_REQUEST
    )


def _with_config(serving: Serving, config: BaseDeployment) -> Serving:
    serving.config = config
    return serving


async def _is_ready(engine: Any) -> bool:
    return bool((await engine.health()).state == "ready")
