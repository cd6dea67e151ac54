"""Outcomes from the event log into the analyses of the rollouts that run, each counted once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError

from headrace_kit.errors import NotReady
from headrace_kit.events import advance
from headrace_protos.common.v1.event_pb2 import RequestEvent, RequestEvents
from headrace_rollout.analysis import Analysis, Outcome, Pair
from headrace_rollout.domain.calibrating import judge_of, known
from headrace_rollout.domain.records import WHOLE, Record
from headrace_rollout.domain.verdicts import Findings, told
from headrace_rollout.metrics import Metrics
from headrace_rollout.ports import Events, Work

_log = logging.getLogger(__name__)
BATCH, MOST_BATCHES = 50, 20
SAVE_EVERY_S = 2.0
_AGAIN_S = 5.0
_CLOCKS = timedelta(seconds=60)
"""The stream's clock may differ so much from the database's."""

_FORGET_S = 86_400.0
_ARMS = frozenset({"baseline", "candidate", "fresh"})


@dataclass(slots=True)
class Place:
    """How far the log was read: `cursor` in the stream, and in each gateway's log what was read, also behind gaps."""

    cursor: str
    logs: dict[str, tuple[int, list[int], float]] = field(default_factory=dict)

    def new(self, log_id: str, position: int, at: float) -> bool:
        """Note a position; false where it was read before. Of a log that was not known, what came before is not asked
        for."""
        reached, ahead, _ = self.logs.get(log_id, (position - 1, [], at))
        if position == reached + 1 and not ahead:
            self.logs[log_id] = (position, ahead, at)
            return True
        if position <= reached or position in ahead:
            return False
        reached, ahead = advance(reached, ahead, (position,))
        self.logs[log_id] = (reached, ahead, at)
        return True

    def forget(self, now: float) -> None:
        """Leave out logs of which nothing was read for a day."""
        self.logs = {log_id: entry for log_id, entry in self.logs.items() if now - entry[2] < _FORGET_S}


@dataclass(frozen=True, slots=True)
class Heard:
    """What is kept about the outcomes of all running rollouts: they move together with the place in the log.

    `revision` grows each time that it is stored.
    """

    revision: int
    cursor: str
    logs: Mapping[str, Any]
    analyses: Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class _Memory:
    revision: int
    place: Place
    analyses: dict[str, Analysis]
    saved_at: datetime


class Hearing:
    """Reads outcomes and keeps the analyses, in one transaction with what is decided by them.

    What was read since the last save is read again after a crash, from the saved place and into the saved analyses, so
    nothing is lost and nothing counted twice. Any number of replicas may take turns.

    Args:
        events: the log.
        metrics: counts.
    """

    def __init__(self, events: Events, metrics: Metrics) -> None:
        self._events, self._metrics = events, metrics
        self._memory: _Memory | None = None
        self._pending: _Memory | None = None
        self._deaf_until: datetime | None = None

    async def listen(self, work: Work, standing: Iterable[Record]) -> dict[str, Findings]:
        """Read what has happened, and say what is known of each judged rollout. Follow with `keep` when the moves are
        known, and with `committed` when all is stored.

        Raises:
            NotReady: the store is away.
        """
        judged = {record.id: record for record in standing if record.judged}
        memory, self._memory, self._pending = self._memory, None, None
        if not judged:
            return {}
        revision = await work.heard_revision()
        if memory is None or memory.revision != revision:
            memory = await self._load(work, judged)
        self._pending = memory
        for id_, record in judged.items():
            if id_ not in memory.analyses:
                assert record.spec.analysis is not None
                memory.analyses[id_] = Analysis(record.spec.analysis)
        for gone in [id_ for id_ in memory.analyses if id_ not in judged]:
            del memory.analyses[gone]
        await self._calibrate(work, memory, judged)
        complete = await self._read(memory, judged, work.now)
        found = {}
        for id_, record in judged.items():
            assert record.spec.analysis is not None
            verdicts = tuple(memory.analyses[id_].verdicts(work.now.timestamp()))
            found[id_] = Findings(verdicts, complete, record.spec.analysis.missing_limit)
        return found

    async def keep(
        self, work: Work, standing: Iterable[Record], found: Mapping[str, Findings], *, decided: bool
    ) -> None:
        """Store place and analyses: with every decision, else every two seconds.

        Args:
            work: the transaction.
            standing: the rollouts as they are now.
            found: what `listen` told.
            decided: whether something was decided.
        """
        judged = [record for record in standing if record.judged]
        memory = self._pending
        if memory is None:
            if judged:
                # From a moment before the first request can be on an arm of it.
                await work.keep_heard(Heard(0, _at(work.now - _CLOCKS), {}, {}), {})
            return
        if not (decided or (work.now - memory.saved_at).total_seconds() >= SAVE_EVERY_S or work.now < memory.saved_at):
            return
        memory.place.forget(work.now.timestamp())
        heard = Heard(
            memory.revision,
            memory.place.cursor,
            {log_id: list(entry) for log_id, entry in memory.place.logs.items()},
            {id_: analysis.dump() for id_, analysis in memory.analyses.items()},
        )
        verdicts = {id_: [told(verdict) for verdict in findings.verdicts] for id_, findings in found.items()}
        memory.revision = await work.keep_heard(heard, verdicts)
        memory.saved_at = work.now

    def forget(self, id_: str) -> None:
        """Begin a rollout's analysis anew. Call it between `listen` and `keep`."""
        if self._pending is not None:
            self._pending.analyses.pop(id_, None)

    def committed(self) -> None:
        """What was kept is stored for good: go on from memory at the next look."""
        self._memory, self._pending = self._pending, None

    async def _load(self, work: Work, judged: Mapping[str, Record]) -> _Memory:
        heard = await work.heard(list(judged))
        if heard is None:
            return _Memory(0, Place(_at(work.now - _CLOCKS)), {}, work.now)
        analyses = {}
        for id_, dump in heard.analyses.items():
            spec = judged[id_].spec.analysis
            assert spec is not None
            try:
                analyses[id_] = Analysis.load(spec, dict(dump))
            except ValueError as error:
                # Of another version of this service: what was shown so far is to be shown again.
                _log.error("the analysis begins anew: %s", error, extra={"rollout_id": id_})
        logs = {log_id: (int(entry[0]), list(entry[1]), float(entry[2])) for log_id, entry in heard.logs.items()}
        return _Memory(heard.revision, Place(heard.cursor, logs), analyses, work.now)

    async def _calibrate(self, work: Work, memory: _Memory, judged: Mapping[str, Record]) -> None:
        """Tell the analyses how much their judges err, or why that is not known yet."""
        with_judge = [id_ for id_, record in judged.items() if judge_of(record) is not None]
        calibrations = await work.calibrations(with_judge) if with_judge else {}
        for id_ in with_judge:
            memory.analyses[id_].calibrate(*known(calibrations.get(id_)))

    async def _read(self, memory: _Memory, judged: Mapping[str, Record], now: datetime) -> bool:
        """Read on; whether that was to the end."""
        if self._deaf_until is not None and now < self._deaf_until <= now + timedelta(seconds=_AGAIN_S):
            return False
        for _ in range(MOST_BATCHES):
            try:
                entries = await self._events.after(memory.place.cursor, BATCH)
            except NotReady:
                if self._deaf_until is None:
                    _log.warning("outcomes cannot be read: rollouts that are judged hold")
                self._deaf_until = now + timedelta(seconds=_AGAIN_S)
                self._metrics.deaf.set(1)
                return False
            for cursor, shipment in entries:
                memory.place.cursor = cursor
                for event in _events(shipment):
                    self._take(memory, judged, event)
            if len(entries) < BATCH:
                if self._deaf_until is not None:
                    _log.warning("outcomes can be read again")
                self._deaf_until = None
                self._metrics.deaf.set(0)
                return True
        return False

    def _take(self, memory: _Memory, judged: Mapping[str, Record], event: RequestEvent) -> None:
        at = event.time.seconds + event.time.nanos / 1e9
        if not memory.place.new(event.log_id, event.sequence, at):
            return
        if event.kind not in (RequestEvent.KIND_FINISHED, RequestEvent.KIND_RATED) or event.rollout_id not in judged:
            return
        if event.cache == "hit" and judged[event.rollout_id].service is None:
            return  # the cache answered, not the model; a release of the gateway has its cache too
        since = judged[event.rollout_id].arms_at
        if since is not None and at < since.timestamp():
            return  # of arms that are no more
        analysis = memory.analyses[event.rollout_id]
        if event.shadow:
            for pair in pairs_of(event, at):
                analysis.observe_pair(pair)
            self._metrics.outcomes.labels(event.rollout_id, "shadow").inc()
        elif event.arm in _ARMS and 0 < event.weight < WHOLE:
            chance = chance_of(event, judged[event.rollout_id])
            rated = event.kind == RequestEvent.KIND_RATED
            if chance is not None and rated:
                analysis.observe_rating(outcome_of(event, at, chance))
            elif chance is not None:
                analysis.observe(outcome_of(event, at, chance))
            self._metrics.outcomes.labels(event.rollout_id, "rated" if rated else event.arm).inc()


def _events(shipment: bytes) -> Iterable[RequestEvent]:
    try:
        return RequestEvents.FromString(shipment).events
    except DecodeError:
        return ()


def chance_of(event: RequestEvent, record: Record) -> float | None:
    """The chance that the key of a request was on the candidate, of the two arms that are compared; None where its arm
    is none of them: beside a fresh baseline, which has as many keys as the candidate, the old one is not compared."""
    fresh = record.spec.fresh_share(event.weight)
    if not fresh:
        return None if event.arm == "fresh" else event.weight / WHOLE
    return None if event.arm == "baseline" else event.weight / (event.weight + fresh)


def outcome_of(event: RequestEvent, at: float, chance: float) -> Outcome:
    """The outcome that a finished request was. Times of a request that failed are not known: it had no answer."""
    failed = event.failure or None
    total_ms = ttft_ms = tpot_ms = tokens = None
    if failed is None and event.error_code == "":
        total_ms = event.ended_us / 1000
        tokens = event.usage.output_tokens
        if event.streamed and tokens > 1 and event.first_token_us:
            tpot_ms = (event.ended_us - event.first_token_us) / 1000 / (tokens - 1)
    if failed is None and event.first_token_us:
        ttft_ms = event.first_token_us / 1000
    return Outcome(
        arm="candidate" if event.arm == "candidate" else "baseline",
        key=event.unit,
        at=at,
        weight=chance,
        failed=failed,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        total_ms=total_ms,
        output_tokens=tokens,
        cost_nano_usd=event.cost_nano_usd,
        segment=dict(event.segment),
        scores=dict(event.scores),
    )


def pairs_of(event: RequestEvent, at: float) -> Iterator[Pair]:
    """What graders said of a shadow's answer beside the one that was given."""
    for score in event.pairs:
        yield Pair(score.metric, event.unit, at, score.baseline, score.candidate, score.failed)


def _at(moment: datetime) -> str:
    """A place in the stream: its ids begin with milliseconds since 1970."""
    return f"{int(moment.timestamp() * 1000)}-0"
