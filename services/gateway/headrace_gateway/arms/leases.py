"""The weights that rollout granted, for as long as the grant holds."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from headrace_gateway.arms import guardrails
from headrace_gateway.arms.canary import TARGET, Canary, canary_of, counted
from headrace_gateway.arms.split import (
    BASELINE,
    CANDIDATE,
    FRESH,
    NO_SHADOW,
    POINTS,
    Arm,
    JudgeLimits,
    ShadowLimits,
    point,
    unit,
)
from headrace_gateway.context import Arrival
from headrace_gateway.routing.plan import ModelPlan, compile_model
from headrace_gateway.routing.table import Table
from headrace_gateway.running import Running
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split

_log = logging.getLogger(__name__)
_PLANS = 256
_HERE = Running()


class Leases:
    """Holds the newest grant. When its lease lapses every model is back on its baseline.

    Args:
        clock: seconds, never running backwards.
        running: this process, where new releases of it are tried.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, running: Running = _HERE) -> None:
        self._clock = clock
        self._running = running
        self._canary: Canary | None = None
        self._guardrails: guardrails.Tried | None = None
        self._until = 0.0
        self._splits: dict[str, Split] = {}
        self._plans: dict[tuple[str, str, str], ModelPlan | None] = {}

    def take(self, grant: Grant) -> None:
        """Replace what was granted before."""
        self._until = self._clock() + grant.lease_ms / 1000
        self._splits = {split.model: split for split in grant.splits}
        self._canary = canary_of(self._running, self._splits.pop(TARGET, None))
        tried = self._splits.pop(guardrails.TARGET, None)
        self._guardrails = guardrails.Tried.of(tried) if tried is not None else None

    @property
    def live(self) -> bool:
        """Whether the last grant still holds."""
        return self._clock() < self._until

    def arm(self, table: Table, plan: ModelPlan, sticky_key: str) -> Arm:
        """The arm of a request for the model `plan`."""
        split = self._splits.get(plan.name) if self.live else None
        if split is None:
            return Arm(plan, "", "", unit("", sticky_key))
        same = unit(split.salt, sticky_key)
        place = point(split.salt, sticky_key)
        if place < split.weight and (candidate := self._candidate(table, split)) is not None:
            return Arm(candidate, split.rollout_id, CANDIDATE, same, split.weight, salt=split.salt)
        if place >= POINTS - split.fresh and (fresh := self._plan(table, split, split.fresh_json)) is not None:
            return Arm(fresh, split.rollout_id, FRESH, same, split.weight, salt=split.salt)
        shadow = split.shadow if split.shadow and self._candidate(table, split) is not None else 0
        return Arm(plan, split.rollout_id, BASELINE, same, split.weight, shadow, _limits(split), split.salt)

    @property
    def compares(self) -> bool:
        """Whether any model has two arms now."""
        return self.live and bool(self._splits)

    def salt(self, rollout_id: str) -> str | None:
        """The salt of a rollout that still runs; None where it does not."""
        splits = self._splits.values() if self.live else ()
        return next((split.salt for split in splits if split.rollout_id == rollout_id), None)

    def canary(self, arrival: Arrival) -> Canary | None:
        """The arm that this process is on, for a request that releases of it are judged by."""
        return self._canary if self._canary is not None and counted(arrival) and self.live else None

    def trial(self, sticky_key: str) -> guardrails.Trial | None:
        """Which release of guardrails judges a request, while a new one is tried."""
        return self._guardrails.trial(sticky_key) if self._guardrails is not None and self.live else None

    def candidate(self, table: Table, model: str, rollout_id: str) -> ModelPlan | None:
        """The candidate of a rollout that still runs; None where it does not, or does not fit."""
        split = self._splits.get(model) if self.live else None
        return None if split is None or split.rollout_id != rollout_id else self._candidate(table, split)

    def _candidate(self, table: Table, split: Split) -> ModelPlan | None:
        """The candidate's plan, compiled once per snapshot; None where it does not fit the snapshot."""
        return self._plan(table, split, split.candidate_json)

    def _plan(self, table: Table, split: Split, patch: str) -> ModelPlan | None:
        key = (table.hash, split.rollout_id, patch)
        if key not in self._plans:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = _compile(table, split, patch)
        return self._plans[key]


def _limits(split: Split) -> ShadowLimits:
    if not split.shadow:
        return NO_SHADOW
    judge = None
    if split.HasField("shadow_judge"):
        asked = split.shadow_judge
        judge = JudgeLimits(asked.model, asked.criteria, asked.share, asked.nano_usd_per_hour)
    return ShadowLimits(split.shadow_concurrency, split.shadow_nano_usd_per_hour, split.shadow_similarity, judge)


def _compile(table: Table, split: Split, patch: str) -> ModelPlan | None:
    try:
        model = table.config.candidate(split.model, json.loads(patch))
        table.config.check_model(model, ("candidate",))
        table.config.check_candidate(split.model, model, ("candidate",))
        return compile_model(split.model, model, table.config, dict(table.policies), table.folder)
    except (ValueError, TypeError, ValidationError, PydanticCustomError) as error:
        _log.error(
            "an arm of rollout %s does not fit this config: its keys stay on the baseline",
            split.rollout_id,
            extra={"rollout_id": split.rollout_id, "reason": str(error), "patch": patch},
        )
        return None
