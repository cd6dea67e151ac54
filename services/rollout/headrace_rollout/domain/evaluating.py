"""Runs the suites of steps that evaluate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headrace_evals.ports import Arm, Platform
from headrace_evals.results import Row
from headrace_evals.run import run
from headrace_evals.suite import Loaded, number
from headrace_evals.verdict import judge
from headrace_rollout.domain.evaluation import FAILED, PASSED, checks_of
from headrace_rollout.domain.leased import AGAIN_S, LEASE_S, Leased, Lost, Place
from headrace_rollout.domain.records import Record, State
from headrace_rollout.ports import Claim, EvaluationStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suites:
    """The suites of the config, and whom their questions are asked.

    Attributes:
        load: reads a suite by its name in the config. Raises SuiteInvalid.
        platform: the platform as the suite's tenant reaches it.
    """

    load: Callable[[str], Loaded]
    platform: Callable[[str], Platform]


@dataclass(slots=True)
class _Rows:
    """`headrace_evals.ports.Memory` on the store."""

    store: EvaluationStore
    place: Place
    owner: str
    rows: Mapping[str, Row]

    async def keep(self, item_id: str, row: Row) -> None:
        if not await self.store.keep_row(*self.place, self.owner, item_id, row):
            raise Lost


class Evaluating(Leased):
    """Puts the candidates of rollouts whose step evaluates to its suite; `suites` are what is run."""

    def __init__(
        self,
        store: EvaluationStore,
        suites: Suites,
        owner: str,
        wake: Callable[[], None],
        lease_s: float = LEASE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        super().__init__(store, owner, wake, lease_s, again_s)
        self._suites = suites

    def _wanted(self, records: Iterable[Record]) -> Mapping[Place, tuple[Record, str]]:
        return {
            (record.id, record.step): (record, record.evaluates)
            for record in records
            if record.state is State.RUNNING and record.evaluates is not None
        }

    async def _once(self, record: Record, suite: str) -> bool:
        loaded = self._suites.load(suite)
        place = (record.id, record.step)
        claim = Claim(self._owner, self._lease_s, loaded.digest, len(loaded.items))
        rows = await self._store.claim(*place, suite, claim)
        if rows is None:
            return False
        memory = _Rows(self._store, place, self._owner, rows)
        arms = [Arm(name, record.model, record.id, name) for name in ("baseline", "candidate")]
        async with self._renewing(place):
            baseline, candidate = await run(loaded, self._suites.platform(suite), arms, memory=memory)
        verdict = judge(loaded, candidate, baseline)
        state = PASSED if verdict.passed else FAILED
        checks = checks_of(verdict, number(loaded.suite.alpha, "alpha"))
        if not await self._store.judged(*place, self._owner, state, verdict.why(), checks):
            raise Lost
        _log.info("evaluation %s %s", suite, state, extra={"rollout_id": record.id, "why": verdict.why()})
        return True
