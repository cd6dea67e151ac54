"""What is kept about a rollout: where it stands, and how it came there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from headrace_kit.config.rollouts import Rollout as Spec
from headrace_kit.config.rollouts import service_of

WHOLE = 10_000
"""Weight of all sticky keys."""

ID_DIGITS = 16

_NEWS_TRAVELS = timedelta(seconds=120)
"""So long a replica may still have the config from before a change."""


class State(StrEnum):
    """Where a rollout is. The last four are ends: an id that has ended never runs again."""

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


LIVE = frozenset({State.PENDING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Record:
    """One rollout.

    Attributes:
        id: hash of model and spec.
        model: that it moves; `service/gateway` or `service/guardrails` where it is a service of ours.
        source: `config`, `api` or `resource`: who asked for it last.
        step: index into `spec.steps`.
        salt: of the hash that puts sticky keys on arms; drawn for this rollout alone.
        served_s: seconds for which the step's weight was granted, without the time in which nobody could grant it.
        counted_at: until when `served_s` is counted; None before the first count of a step.
        holds: why the step does not go on although its time has passed; empty where nothing is in its way.
        held_s: seconds for which it has waited for a person, since its `at_most`.
        missing_s: seconds for which some metric has been missing without a break.
        approved: the last step that a person said yes to; -1: none.
        warm: its candidate's deployments were made ready, and nobody has seen to unloading them yet.
        overlay: a promoted candidate that the file has not adopted yet, so it is still granted.
        arms: digest of what it compares, as the config says it; empty: not known yet.
        arms_before: what it was before the last change of the config.
        arms_at: when that change was seen; what finished before it counts no more.
    """

    id: str
    model: str
    spec: Spec
    source: str
    salt: str
    state: State
    reason: str
    created_at: datetime
    step_started_at: datetime
    step: int = 0
    served_s: float = 0
    counted_at: datetime | None = None
    overlay: bool = False
    holds: str = ""
    held_s: float = 0
    missing_s: float = 0
    approved: int = -1
    warm: bool = False
    arms: str = ""
    arms_before: str = ""
    arms_at: datetime | None = None

    def comparing(self, arms: str, now: datetime) -> Record:
        """It, comparing these arms; as it is where a config that has just been replaced says so."""
        just_now = self.arms_at is not None and now - self.arms_at < _NEWS_TRAVELS
        if arms == self.arms or (arms == self.arms_before and just_now):
            return self
        return replace(self, arms=arms, arms_before=self.arms, arms_at=now if self.arms else None)

    @property
    def service(self) -> str | None:
        """The service of ours that it moves to a new release; None where it moves a model."""
        return service_of(self.model)

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in LIVE

    @property
    def standing(self) -> bool:
        """Whether there is still something to do about it: it is live, an overlay, or waits in the queue."""
        return self.live or self.overlay or self.state is State.QUEUED

    @property
    def weight(self) -> int:
        """Share of sticky keys on the candidate, in 1/10000."""
        if self.overlay:
            return WHOLE
        return self.spec.steps[self.step].weight if self.state is State.RUNNING else 0

    @property
    def shadow(self) -> int:
        """Share of the baseline's requests that are copied to the candidate, in 1/10000."""
        return self.spec.steps[self.step].shadow if self.state is State.RUNNING else 0

    @property
    def evaluates(self) -> str | None:
        """The suite that its step puts the candidate to; None: none, or it does not run."""
        return self.spec.steps[self.step].evaluate if self.state is State.RUNNING else None

    @property
    def judged(self) -> bool:
        """Whether outcomes are asked for: it runs, beside a baseline, and its spec says how to judge it."""
        return self.state is State.RUNNING and self.spec.analysis is not None and self.weight < WHOLE


@dataclass(frozen=True, slots=True)
class Transition:
    """A line of the audit trail: a rollout as it became, why, and who wanted it.

    `actor` is `controller`, `config`, or the key or user that asked by API.
    """

    record: Record
    was: State | None
    at: datetime
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Truth:
    """All standing rollouts at one moment. `version` grows with every transition."""

    version: int
    records: tuple[Record, ...]


def canonical(spec: Spec) -> str:
    """A spec as JSON; what means the same is the same text. Defaults are left out, so new ones change nothing."""
    return json.dumps(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))


def rollout_id(model: str, spec: Spec) -> str:
    """The identity of a rollout: the first 16 hexadecimal digits of the SHA-256 of its model and spec."""
    return hashlib.sha256(f"{model}\n{canonical(spec)}".encode()).hexdigest()[:ID_DIGITS]
