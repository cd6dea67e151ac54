"""Has the judges of shadows make the comparisons that people made, so that it is known how much they err."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from headrace_evals.agreement import Agreement, agreement
from headrace_evals.judging import prefer
from headrace_evals.ports import AskFailed, Platform
from headrace_evals.results import Row, Scored
from headrace_evals.suite import Judge, Label, SuiteInvalid
from headrace_kit.config.rollout_steps import PairJudge
from headrace_rollout.domain.evaluation import PASSED, Evaluation
from headrace_rollout.domain.leased import AGAIN_S, LEASE_S, Leased, Lost, Place
from headrace_rollout.domain.records import Record
from headrace_rollout.ports import CALIBRATION, Claim, EvaluationStore

_log = logging.getLogger(__name__)
NAME = "judge"
_SECOND = "second"


@dataclass(frozen=True, slots=True)
class Labels:
    """Comparisons that people made, and whom a judge is asked by.

    Attributes:
        read: the labels of a file beside the config. Raises SuiteInvalid.
        platform: the platform as a tenant reaches it.
    """

    read: Callable[[str], Sequence[Label]]
    platform: Callable[[str], Platform]


class Calibrating(Leased):
    """Checks the judge of each running rollout against people, once. Each comparison that is done is kept."""

    def __init__(
        self,
        store: EvaluationStore,
        labels: Labels,
        owner: str,
        wake: Callable[[], None],
        lease_s: float = LEASE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        super().__init__(store, owner, wake, lease_s, again_s)
        self._labels = labels

    def _wanted(self, records: Iterable[Record]) -> Mapping[Place, tuple[Record, str]]:
        return {(record.id, CALIBRATION): (record, NAME) for record in records if judge_of(record) is not None}

    async def _once(self, record: Record, name: str) -> bool:
        asked = judge_of(record)
        assert asked is not None
        labels = self._labels.read(asked.labels)
        if not labels:
            raise SuiteInvalid(f"{asked.labels}: there is no label in it")
        place = (record.id, CALIBRATION)
        rows = await self._store.claim(
            *place, name, Claim(self._owner, self._lease_s, _digest(asked, labels), len(labels))
        )
        if rows is None:
            return False
        async with self._renewing(place):
            found = await self._compare(place, asked, labels, rows)
        counted = agreement(labels, found)
        if not await self._store.judged(*place, self._owner, PASSED, "", [msgspec.to_builtins(counted)]):
            raise Lost
        _log.info("the judge %s was %s", asked.model, counted.in_words(), extra={"rollout_id": record.id})
        return True

    async def _compare(
        self, place: Place, asked: PairJudge, labels: Sequence[Label], rows: Mapping[str, Row]
    ) -> list[float | None]:
        """`Preference.second` of each label; None where there was no verdict."""
        judge, platform = Judge(asked.model, asked.criteria), self._labels.platform(asked.tenant)
        found: list[float | None] = []
        for number, label in enumerate(labels):
            id_ = str(number)
            row = rows.get(id_)
            if row is None:
                try:
                    second = (await prefer(judge, platform, label.input, label.a, label.b)).second
                    row = Row([Scored(id_, scores={_SECOND: second})])
                except AskFailed as failed:
                    row = Row([Scored(id_, errors=1.0, error=failed.code)])
                if not await self._store.keep_row(*place, self._owner, id_, row):
                    raise Lost
            found.append(row.scored[0].scores.get(_SECOND))
        return found


def judge_of(record: Record) -> PairJudge | None:
    """The judge that a rollout needs now; None: it has none, or nothing is asked of it."""
    analysis = record.spec.analysis
    if not record.judged or analysis is None or NAME not in analysis.pairs:
        return None
    return record.spec.shadow.judge


def known(calibration: Evaluation | None) -> tuple[Agreement | None, str]:
    """What is known of a judge, or why that is not known yet."""
    if calibration is None:
        return None, ""
    if calibration.state == PASSED:
        return msgspec.convert(calibration.checks[0], Agreement), ""
    return None, calibration.why or f"it has made {calibration.done} of {calibration.total} comparisons"


def _digest(asked: PairJudge, labels: Sequence[Label]) -> str:
    kept = msgspec.json.encode([asked.model, asked.criteria, list(labels)])
    return hashlib.sha256(kept).hexdigest()[:16]
