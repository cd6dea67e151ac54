"""The store of evaluations in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace_evals.results import Row
from headrace_rollout.domain.evaluation import RUNNING, Evaluation
from headrace_rollout.ports import CALIBRATION, Claim


@dataclass(slots=True)
class _Entry:
    evaluation: Evaluation
    digest: str = ""
    owner: str = ""
    owned_until: float = 0.0
    rows: dict[str, Row] = field(default_factory=dict)


class MemoryEvaluations:
    """`EvaluationStore` without a database; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self.entries: dict[tuple[str, int], _Entry] = {}

    def calibrations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `Work.calibrations`."""
        found = {id_: entry for (id_, step), entry in self.entries.items() if step == CALIBRATION and id_ in ids}
        return {id_: replace(entry.evaluation, done=len(entry.rows)) for id_, entry in found.items()}

    def last(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `RolloutStore.evaluations`."""
        found: dict[str, Evaluation] = {}
        for (id_, step), entry in sorted(self.entries.items(), key=lambda item: item[0][1]):
            if id_ in ids and step != CALIBRATION:
                found[id_] = replace(entry.evaluation, done=len(entry.rows))
        return found

    def forget(self, id_: str) -> None:
        """See `Work.forget`."""
        for place in [place for place in self.entries if place[0] == id_ and place[1] != CALIBRATION]:
            del self.entries[place]

    async def claim(self, rollout_id: str, step: int, suite: str, claim: Claim) -> Mapping[str, Row] | None:
        """See `EvaluationStore`."""
        new = Evaluation(rollout_id, step, suite, RUNNING, 0, claim.total)
        entry = self.entries.setdefault((rollout_id, step), _Entry(new, claim.digest))
        held = entry.owner not in ("", claim.owner) and entry.owned_until > self.clock()
        if held or entry.evaluation.state != RUNNING:
            return None
        if entry.digest != claim.digest:
            entry.rows.clear()
        entry.digest, entry.owner, entry.owned_until = claim.digest, claim.owner, self.clock() + claim.lease_s
        entry.evaluation = replace(entry.evaluation, total=claim.total)
        return dict(entry.rows)

    async def renew(self, rollout_id: str, step: int, owner: str, lease_s: float) -> bool:
        """See `EvaluationStore`."""
        entry = self._mine(rollout_id, step, owner)
        if entry is not None:
            entry.owned_until = self.clock() + lease_s
        return entry is not None

    async def keep_row(self, rollout_id: str, step: int, owner: str, item: str, row: Row) -> bool:
        """See `EvaluationStore`."""
        entry = self._mine(rollout_id, step, owner)
        if entry is not None:
            entry.rows[item] = row
            entry.evaluation = replace(entry.evaluation, why="")
        return entry is not None

    async def hindered(self, rollout_id: str, step: int, suite: str, owner: str, why: str) -> None:
        """See `EvaluationStore`."""
        new = Evaluation(rollout_id, step, suite, RUNNING)
        entry = self.entries.setdefault((rollout_id, step), _Entry(new, owner=owner))
        if self._mine(rollout_id, step, owner) is not None:
            entry.evaluation, entry.owner = replace(entry.evaluation, why=why), ""

    async def judged(
        self, rollout_id: str, step: int, owner: str, state: str, why: str, checks: list[dict[str, Any]]
    ) -> bool:
        """See `EvaluationStore`."""
        entry = self._mine(rollout_id, step, owner)
        if entry is not None:
            entry.evaluation = replace(entry.evaluation, state=state, why=why, checks=tuple(checks))
        return entry is not None

    def _mine(self, rollout_id: str, step: int, owner: str) -> _Entry | None:
        entry = self.entries.get((rollout_id, step))
        return entry if entry and entry.owner == owner and entry.evaluation.state == RUNNING else None
