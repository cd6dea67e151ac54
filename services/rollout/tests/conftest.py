"""A controller on a store in memory, and the config that it follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from headrace_evals.suite import Label, Loaded, SuiteInvalid
from headrace_kit.config import Config
from headrace_kit.rpc import Identity
from headrace_rollout.adapters.memory import MemoryEvents, MemoryRolloutStore
from headrace_rollout.domain.controller import Controller
from headrace_rollout.domain.desired import Desired, Wanted
from headrace_rollout.domain.grants import Grants
from headrace_rollout.domain.hearing import Hearing
from headrace_rollout.domain.operations import Operations
from headrace_rollout.domain.records import Record
from headrace_rollout.metrics import Metrics

LEASE_S = 15.0


def make_config(rollout: dict | None = None, model: dict | None = None) -> Config:
    """The model `assistant` on the deployment `small`, and perhaps a rollout of it."""
    price = {"input_usd_per_million": 1, "output_usd_per_million": 1}
    return Config.model_validate(
        {
            "deployments": {name: {"engine": "triton-scripted", "price": price} for name in ("small", "large", "huge")},
            "models": {"assistant": model or {"deployment": "small"}, "referee": {"deployment": "small"}},
            "rollouts": {"assistant": rollout} if rollout else {},
            "evals": {"golden": {"file": "evals/golden.yaml", "tenant": "dev"}},
        }
    )


@dataclass
class World:
    """Everything of the service but its transport and its database."""

    store: MemoryRolloutStore = field(default_factory=MemoryRolloutStore)
    config: Config = field(default_factory=make_config)
    now_s: float = 1000.0
    telling: bool = False
    suites: dict[str, Loaded] = field(default_factory=dict)
    comparisons: dict[str, list[Label]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admin = Identity("gateway", key_id="key-1", scopes=frozenset({"admin"}))
        metrics = Metrics(CollectorRegistry())
        self.events = MemoryEvents()
        self.grants = Grants(lambda: LEASE_S, metrics, lambda: self.now_s)
        self.controller = self.new_controller(metrics)
        self.operations = Operations(
            self.store, self.controller, lambda: Desired(self.config), metrics, self, lambda: self.telling
        )

    def load(self, name: str) -> Loaded:
        """A suite by its name; `suites` has them."""
        if name not in self.suites:
            raise SuiteInvalid(f"there is no file of {name}")
        return self.suites[name]

    def labels(self, file: str) -> list[Label]:
        """Comparisons that people made; `comparisons` has them."""
        if file not in self.comparisons:
            raise SuiteInvalid(f"{file}: there is no such file")
        return self.comparisons[file]

    def new_controller(self, metrics: Metrics | None = None) -> Controller:
        """A controller as after a restart: it remembers nothing."""
        return Controller(
            self.store,
            self.grants,
            lambda: Desired(self.config),
            lambda: LEASE_S,
            metrics or Metrics(CollectorRegistry()),
            Hearing(self.events, metrics or Metrics(CollectorRegistry())),
            lambda: self.telling,
            clock=lambda: self.now_s,
        )

    def asks(self, rollout: dict | None, model: dict | None = None) -> str:
        """Change the config; returns the id of the rollout that it asks for."""
        self.config = make_config(rollout, model)
        return Wanted("assistant", self.config.rollouts["assistant"]).id if rollout else ""

    async def pass_time(self, seconds: float, look_every_s: float = 5.0) -> None:
        """Let time pass, with the controller looking now and then."""
        while seconds > 0:
            step = min(look_every_s, seconds)
            self.store.pass_time(step)
            self.now_s += step
            seconds -= step
            await self.controller.tick()

    def record(self, id_: str) -> Record:
        """A rollout as it is stored."""
        return self.store.records[id_]

    def trail(self, id_: str) -> list[str]:
        """The states of a rollout, in order, repeated for each transition."""
        return [str(entry.record.state) for entry in self.store.transitions if entry.record.id == id_]

    @property
    def weights(self) -> dict[str, int]:
        """What is granted, by rollout."""
        return {split.rollout_id: split.weight for split in self.grants.current().splits}


@pytest.fixture
def world() -> World:
    """Nothing has happened yet."""
    return World()
