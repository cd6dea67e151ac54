"""The deployments that there are, each with its engine, queue and state."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping

from headrace_inference.domain.admission import Admission
from headrace_inference.domain.load import LoadMeter
from headrace_inference.domain.sleep import Sleep
from headrace_inference.domain.speculation import Speculation, controller
from headrace_inference.metrics import DeploymentMetrics, Metrics
from headrace_inference.ports import Engine, EngineState, EngineStats
from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.config.deployments import BaseDeployment, LanguageDeployment, LiteLlmDeployment, OnnxDeployment, tasks
from headrace_kit.config.deployments.base import WakingDeployment
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput, NotFound

MakeEngine = Callable[[str, BaseDeployment], Engine]
"""Makes the engine of a deployment; cheap, and does not connect."""

ROWS_IN_ENGINE = 64
"""Texts of small models that are in Triton at one time, one batch of it: the rest waits where it is fair."""


class Serving:
    """One version of a deployment: its engine, the config that it was made from, and how many requests are in it."""

    __slots__ = ("_idle", "_users", "config", "engine")

    def __init__(self, engine: Engine, config: BaseDeployment) -> None:
        self.engine = engine
        self.config = config
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> Serving:
        self._users += 1
        self._idle.clear()
        return self

    def __exit__(self, *ended: object) -> None:
        self._users -= 1
        if not self._users:
            self._idle.set()

    async def left(self) -> None:
        """Return when no request is in it."""
        await self._idle.wait()


class Deployment:
    """A deployment at run time.

    Attributes:
        name: its own.
        wanted: its newest config; `serving.config` is the one that serves.
        serving: what new requests go to.
        phase: `loading`, `warming`, `ready`, `unloaded` or `failed`, as far as the life cycle brought it; what the
            engine says of itself comes on top, see `shown_state`.
        detail: why it failed.
        version: loads that took over.
        load_error: why the last load failed while an older version goes on serving.
        leaving: it is no longer in the config, and serves what was admitted under an older one.
    """

    def __init__(
        self,
        name: str,
        config: BaseDeployment,
        catalogue: Mapping[str, CatalogueEntry],
        engine: Engine,
        metrics: DeploymentMetrics,
    ) -> None:
        self.name = name
        self.wanted = config
        self.metrics = metrics
        self.admission = Admission(name, slots_of(config), config.max_in_flight, refused=metrics.refused)
        self.load = LoadMeter()
        self.phase = "loading"
        self.detail = ""
        self.version = 0
        self.load_error = ""
        self.leaving = False
        self.health = EngineState("loading")
        self.stats = EngineStats()
        self.speculation: Speculation | None = None
        self.sleep = Sleep(lambda: wakes_within(self.wanted))
        self.serve(Serving(engine, config), catalogue)
        metrics.watch(self._gauges())

    def serve(self, serving: Serving, catalogue: Mapping[str, CatalogueEntry]) -> None:
        """Send new requests to another version; those in work are not touched."""
        before = getattr(self, "serving", None)
        self.serving = serving
        self.admission.resize(slots_of(serving.config), serving.config.max_in_flight)
        if before is None or _drafting(before.config) != _drafting(serving.config):
            self.speculation = controller(serving.config, catalogue)
        self.tasks = tasks(serving.config)
        # Catalogue entry, or the deployment's own name where there are no weights.
        self.model: str = getattr(serving.config, "model", self.name)

    @property
    def config(self) -> BaseDeployment:
        """The config that serves."""
        return self.serving.config

    @property
    def engine(self) -> Engine:
        """The engine that serves."""
        return self.serving.engine

    @property
    def shown_state(self) -> EngineState:
        """The state for others: the life cycle's, or the engine's own when it should serve and does not."""
        if self.admission.draining or self.leaving:
            return EngineState("draining")
        if self.sleep.asleep and self.phase != "unloaded":
            return EngineState("asleep", "its server does not run; a request has it started")
        if self.phase != "ready":
            return EngineState(self.phase, self.detail)
        return self.health

    def doze(self) -> bool:
        """Its server is gone: requests wait from here on. False where it may not be."""
        if not self.sleep.doze():
            return False
        self.admission.sleep(self.sleep.left_s)
        return True

    def wake(self) -> None:
        """It serves: those who wait go on."""
        self.sleep.wake()
        self.admission.wake()

    @property
    def ready(self) -> bool:
        """Whether requests can be sent."""
        return self.shown_state.state == "ready"

    def _gauges(self) -> dict[str, Callable[[], float]]:
        return {
            "running": lambda: self.admission.running,
            "waiting": lambda: self.admission.waiting,
            "slots_used": lambda: self.admission.used,
            "ready": lambda: self.ready,
            "asleep": lambda: self.sleep.asleep,
            "wanted": lambda: bool(self.sleep.wanted or self.admission.running or self.admission.waiting),
            "version": lambda: self.version,
            "tokens_per_second": lambda: self.load.tokens_per_second(time.monotonic()),
            "kv_cache_used": lambda: math.nan if self.stats.kv_cache_used is None else self.stats.kv_cache_used,
            "prefix_cache_hit_share": lambda: self.load.prefix_hit_share,
            "speculation_max_draft_tokens": self._max_draft_tokens,
            "speculation_acceptance": lambda: self.speculation.acceptance if self.speculation else 0.0,
            "speculation_tokens_per_step": lambda: self.speculation.tokens_per_step if self.speculation else 1.0,
        }

    def _max_draft_tokens(self) -> float:
        if self.speculation is not None:
            return self.speculation.current
        config = self.config
        if isinstance(config, LanguageDeployment) and config.speculation.method != "none":
            return config.speculation.max_draft_tokens
        return 0


def wakes_within(config: BaseDeployment) -> float | None:
    """Seconds that its server may take to start; None where it always runs."""
    return config.wakes_within if isinstance(config, WakingDeployment) else None


def _drafting(config: BaseDeployment) -> tuple[object, ...]:
    """What a controller was made for."""
    return type(config), getattr(config, "model", None), getattr(config, "speculation", None)


def slots_of(config: BaseDeployment) -> int:
    """Requests, or texts, that an engine works on at one time; the rest waits in the queue."""
    if isinstance(config, LanguageDeployment | LiteLlmDeployment):
        return config.slots
    return ROWS_IN_ENGINE if isinstance(config, OnnxDeployment) else config.max_in_flight


class Deployments:
    """All deployments by name. Which there are is the life cycle's business.

    Args:
        make_engine: makes engines.
        metrics: counts.
    """

    def __init__(self, make_engine: MakeEngine, metrics: Metrics) -> None:
        self.make_engine = make_engine
        self._metrics = metrics
        self._known: dict[str, Deployment] = {}

    def __iter__(self) -> Iterator[Deployment]:
        return iter(tuple(self._known.values()))

    def add(self, name: str, config: BaseDeployment, catalogue: Mapping[str, CatalogueEntry]) -> Deployment:
        """A new deployment, not loaded yet."""
        made = Deployment(
            name,
            config,
            catalogue,
            self.make_engine(name, config),
            self._metrics.of(name, getattr(config, "engine", "")),
        )
        self._known[name] = made
        return made

    def drop(self, name: str) -> None:
        """Forget a deployment."""
        self._known.pop(name).metrics.forget()

    def find(self, name: str) -> Deployment | None:
        """The deployment, if there is one."""
        return self._known.get(name)

    def get(self, name: str, task: str = "") -> Deployment:
        """The deployment `name`, which must be able to do `task`.

        Raises:
            NotFound: there is none.
            BadInput: it does something else.
        """
        deployment = self._known.get(name)
        if deployment is None:
            raise NotFound(
                f"no deployment {name!r}{nearest(name, self._known)}", code="deployment_not_found", param="deployment"
            )
        if task and task not in deployment.tasks:
            raise BadInput(
                f"deployment {name!r} can {', '.join(deployment.tasks)}, not {task}",
                code="unsupported",
                param="deployment",
            )
        return deployment
