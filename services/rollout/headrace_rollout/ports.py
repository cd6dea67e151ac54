"""What rollout needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from headrace_evals.results import Row
from headrace_evals.suite import Label, Loaded
from headrace_kit.config.services import Pods as PodsOf
from headrace_kit.config.services import Routes as RoutesOf
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.domain.records import Record, Transition, Truth
from headrace_rollout.domain.verdicts import Decision
from headrace_rollout.resources.resource import Resource

if TYPE_CHECKING:
    from headrace_rollout.domain.hearing import Heard


CALIBRATION = -1
"""Stands for a step where what is kept is not of a step, but what a rollout's judge made of people's comparisons."""


class Events(Protocol):
    """The event log as the gateways ship it."""

    async def after(self, cursor: str, limit: int) -> list[tuple[str, bytes]]:
        """Up to `limit` shipments (`RequestEvents`) behind a place, in order, each with its own place.

        Raises NotReady while it is away.
        """


class Files(Protocol):
    """Files that the config names, read anew each time. Methods raise SuiteInvalid: one is missing, or not valid."""

    def load(self, name: str) -> Loaded:
        """A suite by its name in the config."""

    def labels(self, file: str) -> Sequence[Label]:
        """Comparisons that people made."""


class Work(Protocol):
    """One transaction of the only writer: nobody else changes a rollout until it ends."""

    @property
    def now(self) -> datetime:
        """The store's own time, one clock for all replicas."""

    async def standing(self) -> list[Record]:
        """All rollouts that are live, overlays, or queued."""

    async def find(self, id_: str) -> Record | None:
        """A rollout, also one that has ended."""

    async def ended(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that exist and no longer stand."""

    async def warm(self) -> list[Record]:
        """The rollouts that are over and whose candidate was made ready: nobody has seen to unloading it yet."""

    async def cooled(self, id_: str) -> None:
        """Somebody has."""

    async def apply(self, transition: Transition) -> None:
        """Store the record as it became, and a line in the audit trail."""

    async def count(self, record: Record) -> None:
        """Store how long a step has been served, and what it waits for; no transition."""

    async def forget(self, id_: str) -> None:
        """Drop the analysis and the evaluations of a rollout that begins anew."""

    async def decide(self, decision: Decision) -> None:
        """Store what was decided, and by which numbers."""

    async def publish(self, news: Mapping[str, Any]) -> None:
        """Store something that people are to be told."""

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """The last evaluation of each of these rollouts that has one."""

    async def calibrations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """What is known of the judges of these rollouts, where something is."""

    async def heard_revision(self) -> int:
        """How often what was heard was stored; 0: never."""

    async def heard(self, ids: Collection[str]) -> Heard | None:
        """What was heard, with the analyses of these rollouts; None where nothing was."""

    async def keep_heard(self, heard: Heard, verdicts: Mapping[str, list[dict[str, Any]]]) -> int:
        """Store what was heard, and the newest verdicts by rollout; returns the new revision."""


@dataclass(frozen=True, slots=True)
class Story:
    """The transitions and decisions of a rollout, oldest first, and the last analysis, if it was judged."""

    transitions: list[Transition]
    decisions: list[Decision]
    analysis: Mapping[str, Any] | None


class RolloutStore(Protocol):
    """The record of rollouts. Every method raises `headrace_kit.errors.NotReady` while the store is away."""

    def changing(self) -> AbstractAsyncContextManager[Work]:
        """Become the only writer, after whoever is; everything is committed at the end, or nothing."""

    def leading(self) -> AbstractAsyncContextManager[Work | None]:
        """The same without waiting: None when another writer is at it."""

    async def truth(self) -> Truth:
        """What stands now."""

    async def find(self, id_: str) -> Record | None:
        """A rollout, also one that has ended."""

    def news(self) -> AbstractAsyncContextManager[Mapping[str, Any] | None]:
        """The oldest news that nobody else is telling, or None; gone at the end, unless the block raises."""

    async def verdicts(self, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """The newest verdicts of rollouts that are or were judged."""

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """The last evaluation of each of these rollouts that has one."""

    async def story(self, id_: str) -> Story:
        """How a rollout came where it is."""

    async def all(self, limit: int) -> list[Record]:
        """The newest rollouts, newest first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to run a suite, how long it is theirs unless they renew, and which suite it is, of how many items."""

    owner: str
    lease_s: float
    digest: str
    total: int


class EvaluationStore(Protocol):
    """The suites that are run, each of a rollout and a step of it. Every method raises `NotReady` while it is away."""

    async def claim(self, rollout_id: str, step: int, suite: str, claim: Claim) -> Mapping[str, Row] | None:
        """Become the one who runs it; the items that are done, by id. None: another holds it, or it has ended.

        Items of another version of the suite are forgotten.
        """

    async def renew(self, rollout_id: str, step: int, owner: str, lease_s: float) -> bool:
        """Hold it for longer. False: it is another's by now, or has ended."""

    async def keep_row(self, rollout_id: str, step: int, owner: str, item: str, row: Row) -> bool:
        """Store an item that is done. False as `renew`: nothing was stored then."""

    async def hindered(self, rollout_id: str, step: int, suite: str, owner: str, why: str) -> None:
        """Something is in its way; whoever tries again may take it over at once."""

    async def judged(
        self, rollout_id: str, step: int, owner: str, state: str, why: str, checks: list[dict[str, Any]]
    ) -> bool:
        """It has ended: `passed` or `failed`. False as `renew`."""


class ModelRollouts(Protocol):
    """The `ModelRollout` resources of one namespace. Every method raises `NotReady` while the API server is away."""

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until no other replica leads, then work; the work is cancelled when the lease is lost. Then return."""

    def watch(self) -> AsyncIterator[Sequence[Resource]]:
        """All resources, at once and after each change."""

    async def patch(
        self,
        resource: Resource,
        *,
        finalizers: Sequence[str] | None = None,
        without_annotations: Sequence[str] = (),
    ) -> None:
        """Change metadata. Raises `Conflict` where the resource has changed since it was read."""

    async def apply_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Write the status, as its only author. A resource that is gone is no error."""

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        """Tell something about it, as an Event. One that cannot be told is left out."""

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a service's requests are shared out, and who is there to take the candidate's.

    `weight` is the candidate's share in 1/10000; None: rules have different ones, or there are no routes. `ready` and
    `restarts` count pods of the candidate and starts of their containers after the first; `why` is what is wrong with
    one, if anything.
    """

    weight: int | None
    ready: int
    restarts: int = 0
    why: str = ""


class Routes(Protocol):
    """Routes that share requests out between two releases, or the candidate's pods alone where callers do.

    Every method raises `NotReady` while they cannot be had.
    """

    async def look(self, routes: RoutesOf | PodsOf) -> Seen:
        """How they are now."""

    async def set_weight(self, routes: RoutesOf | PodsOf, weight: int) -> None:
        """Have the candidate get so many 1/10000 of all requests. Nothing else of the routes changes."""

    async def close(self) -> None:
        """Give connections back."""


class Models(Protocol):
    """Inference's control of deployments. Every method raises `NotReady` while it cannot be asked."""

    async def states(self) -> Mapping[str, str]:
        """The state of each deployment that it knows, by name, as `headrace.inference.v1.DeploymentStatus` has it."""

    async def load(self, name: str) -> None:
        """Load a deployment; returns when it is ready. Raises HeadraceError: why it cannot be."""

    async def unload(self, name: str) -> None:
        """Drain and unload a deployment. Raises HeadraceError: why it cannot be."""
