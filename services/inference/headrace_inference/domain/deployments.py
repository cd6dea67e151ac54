"""The deployments of the current config, each with its engine, queue and state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from headrace_inference.domain.admission import Admission
from headrace_inference.domain.load import LoadMeter
from headrace_inference.ports import Engine, EngineState
from headrace_kit.config.deployments import Deployment as DeploymentConfig
from headrace_kit.config.deployments import LlamaCppDeployment, tasks
from headrace_kit.config.document import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput, NotFound

_log = logging.getLogger(__name__)
MakeEngine = Callable[[str, DeploymentConfig], Engine]
"""Makes the engine of a deployment; cheap, and does not connect."""


@dataclass
class Deployment:
    """A deployment at run time."""

    name: str
    config: DeploymentConfig
    engine: Engine
    admission: Admission
    load: LoadMeter = field(default_factory=LoadMeter)
    state: EngineState = field(default_factory=lambda: EngineState("loading"))

    @property
    def tasks(self) -> tuple[str, ...]:
        """`generate`, `embed` or `rerank`."""
        return tasks(self.config)

    @property
    def model(self) -> str:
        """Catalogue entry, or the deployment's own name where there are no weights."""
        return getattr(self.config, "model", self.name)

    @property
    def shown_state(self) -> EngineState:
        """The engine's state, or `draining`."""
        return EngineState("draining") if self.admission.draining else self.state


def slots_of(config: DeploymentConfig) -> int:
    """Requests that an engine works on at one time; engines that batch by themselves take all."""
    return config.slots if isinstance(config, LlamaCppDeployment) else config.max_in_flight


class Deployments:
    """All deployments by name; follows the config.

    Args:
        config: the first config.
        make_engine: makes engines.
    """

    def __init__(self, config: Config, make_engine: MakeEngine) -> None:
        self._make_engine = make_engine
        self._known: dict[str, Deployment] = {}
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Take a new config: an unchanged deployment keeps its queue and engine. Requests in work go on."""
        known: dict[str, Deployment] = {}
        for name, wanted in config.deployments.items():
            old = self._known.get(name)
            if old is None or old.config != wanted:
                slots, limit = slots_of(wanted), wanted.max_in_flight
                admission = old.admission if old else Admission(name, slots, limit)
                admission.resize(slots, limit)
                known[name] = Deployment(name, wanted, self._make_engine(name, wanted), admission)
            else:
                known[name] = old
        self._known = known

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._known.values())

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

    async def refresh(self) -> None:
        """Ask every engine for its state."""
        known = list(self._known.values())
        for deployment, state in zip(known, await asyncio.gather(*(d.engine.health() for d in known)), strict=True):
            if state.state != deployment.state.state:
                _log.info(
                    "deployment %s is %s",
                    deployment.name,
                    state.state,
                    extra={"deployment": deployment.name, "detail": state.detail},
                )
            deployment.state = state

    async def load(self, name: str) -> Deployment:
        """Load a deployment's weights; returns when it is ready. Raises Upstream with the reason when it failed."""
        deployment = self.get(name)
        deployment.state = EngineState("loading")
        try:
            await deployment.engine.load()
        finally:
            deployment.state = await deployment.engine.health()
        return deployment

    async def unload(self, name: str, drain_s: float) -> Deployment:
        """Refuse new requests, wait up to `drain_s` seconds for those in work, and free the weights."""
        deployment = self.get(name)
        deployment.admission.draining = True
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(deployment.admission.drained(), drain_s)
            await deployment.engine.unload()
            deployment.state = await deployment.engine.health()
        finally:
            deployment.admission.draining = False
        return deployment
