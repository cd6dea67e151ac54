"""A candidate judged on all its metrics, always: after every outcome if somebody looks that often."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headrace_evals.agreement import Agreement
from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_kit.config.rollout_analysis import Errors, Failures, Increase
from headrace_rollout.analysis.betting import Array, Integers
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.history import History
from headrace_rollout.analysis.judge import Allowance, Judge
from headrace_rollout.analysis.judged_pairs import JUDGED, JudgedPairs
from headrace_rollout.analysis.keys import Epochs, FirstTime, hash_of
from headrace_rollout.analysis.observed import Outcome, Pair, State, Verdict
from headrace_rollout.analysis.quantities import QuantityJudge
from headrace_rollout.analysis.rates import RateJudge
from headrace_rollout.analysis.scores import PairJudge, ScoreJudge
from headrace_rollout.analysis.verdicts import state_of, verdict, verdict_on_segment

VERSION = 3
PENDING = 1_024
"""Outcomes that wait to be judged together, at most."""

QUANTITIES: Mapping[str, str] = {
    "ttft": "ttft_ms",
    "tpot": "tpot_ms",
    "total": "total_ms",
    "output_tokens": "output_tokens",
    "cost": "cost_nano_usd",
}
"""Field of an outcome by metric."""


class Analysis:
    """Judges one rollout from its outcomes. Pure: it only computes, and knows no time but what it is told."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._epochs = Epochs()
        self._first = FirstTime(self._epochs)
        self._live: list[RateJudge | QuantityJudge | ScoreJudge] = []
        self._paired: dict[str, PairJudge] = {}
        self._make_judges()
        self._columns = {name: QUANTITIES[name] for name in QUANTITIES if getattr(spec, name) is not None}
        self._labels: list[str] = []
        self._outcomes: list[Outcome] = []
        self._ratings: list[Outcome] = []
        self._pairs: list[Pair] = []
        self._began: float | None = None
        self._seen = 0
        self._candidate_keys = 0
        self.history = History()

    def _make_judges(self) -> None:
        spec = self.spec
        metrics = list(spec.metrics())
        alpha, shares = spec.alpha / 10_000, sum(metric.share for _, metric in metrics)
        for name, metric in metrics:
            part = alpha * metric.share / shares
            watched = bool(spec.segments) and not name.startswith("pairs.")
            of_segments = part * spec.segments_share / 10_000 if watched else 0.0
            allowance = Allowance(alpha, part - of_segments, of_segments / spec.segments_most)
            if isinstance(metric, Errors | Failures):
                kinds = metric.kinds if isinstance(metric, Failures) else None
                self._live.append(RateJudge(name, metric.margin, allowance, self._epochs, kinds))
            elif isinstance(metric, Increase):
                self._live.append(QuantityJudge(name, metric.margin, metric.judge, allowance, self._epochs))
            elif name.startswith("scores."):
                self._live.append(ScoreJudge(name, metric.margin, allowance, self._epochs))
            else:
                kind = JudgedPairs if name == JUDGED else PairJudge
                self._paired[name.removeprefix("pairs.")] = kind(name, metric.margin, allowance)

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Of all metrics, in the order of the config."""
        return (*self._live, *self._paired.values())

    def begin(self, now: float) -> None:
        """The rollout begins: from now on, seconds, values may be missing. Else it begins with its first outcome."""
        if self._began is None:
            self._began = now

    def observe(self, outcome: Outcome) -> None:
        """An outcome. Those of one key come in order; others may be a little out of it."""
        self.begin(outcome.at)
        self._outcomes.append(outcome)
        if len(self._outcomes) >= PENDING:
            self._judge_outcomes()

    def observe_rating(self, outcome: Outcome) -> None:
        """What somebody says, at any later time, of an outcome that was observed: its scores alone count."""
        self.begin(outcome.at)
        self._ratings.append(outcome)
        if len(self._ratings) >= PENDING:
            self._judge_outcomes()

    def observe_pair(self, pair: Pair) -> None:
        """Scores of both arms' answers to one request. Those of other metrics than the config's are left out."""
        self.begin(pair.at)
        judge = self._paired.get(pair.metric)
        if pair.failed:
            if isinstance(judge, JudgedPairs):
                self._pairs.append(replace(pair, baseline=math.nan, candidate=math.nan))
        elif judge is not None and math.isfinite(pair.baseline) and math.isfinite(pair.candidate):
            self._pairs.append(pair)
        if len(self._pairs) >= PENDING:
            self._judge_pairs()

    def calibrate(self, found: Agreement | None, why: str = "") -> None:
        """What is known of the model that compares pairs: what it made of people's comparisons, or why that is not
        known yet. Until it is, its pairs count for nothing. The first agreement stays."""
        for judge in self._paired.values():
            if isinstance(judge, JudgedPairs):
                self._judge_pairs()
                judge.calibrate(found, why)

    def verdicts(self, now: float) -> tuple[Verdict, ...]:
        """What is known at `now`, seconds: of each metric, then of segments that are harmed. Ask as often as wanted."""
        self._judge_all()
        self.begin(now)
        assert self._began is not None
        keys = self._candidate_keys
        found = [verdict(judge, self.spec, keys, self._began, now) for judge in self.judges]
        found += [verdict_on_segment(judge, label) for judge in self._live for label in judge.harmed_segments()]
        self.history.add(now, found)
        return tuple(found)

    def states(self, now: float | None) -> dict[str, State]:
        """States alone, by name; `verdicts` tells the rest, and costs more. Without `now` nothing is missing."""
        self._judge_all()
        began = 0.0 if self._began is None else self._began
        found = {judge.name: state_of(judge, self.spec, self._candidate_keys, began, now) for judge in self.judges}
        for judge in self._live:
            found |= {f"{judge.name}[{label}]": "beyond" for label in judge.harmed_segments()}
        return found

    def feed(self, chunk: Chunk) -> None:
        """Outcomes as columns, all with a chance inside 0 to 1. Its `epochs` and `first_answer` are filled in here."""
        if not len(chunk):
            return
        self.begin(float(chunk.at[0]))
        start = 0
        while start < len(chunk):
            # little by little at first, when there is not much to compare values with
            end = min(len(chunk), start + max(32, min(PENDING, self._seen)))
            self._judge(chunk.part(start, end))
            self._seen += end - start
            start = end

    def _judge(self, chunk: Chunk) -> None:
        at, weight = chunk.at.tolist(), chunk.weight.tolist()
        epochs = [self._epochs.of(one, when) for one, when in zip(weight, at, strict=True)]
        answered = [place for place, kind in enumerate(chunk.failed) if kind is None]
        keys, candidate = chunk.keys.tolist(), chunk.candidate.tolist()
        first = np.zeros(len(chunk))
        first[answered] = self._first.chances(
            [keys[place] for place in answered],
            [candidate[place] for place in answered],
            [epochs[place] for place in answered],
        )
        self._candidate_keys += int(((first > 0) & chunk.candidate).sum())
        first[first >= 1] = 0
        full = replace(chunk, epochs=np.asarray(epochs, np.int64), first_answer=first)
        for judge in self._live:
            judge.add(full)

    def _judge_all(self) -> None:
        self._judge_outcomes()
        self._judge_pairs()

    def _judge_outcomes(self) -> None:
        outcomes = [outcome for outcome in self._outcomes if 0 < outcome.weight < 1]
        self._outcomes = []
        if outcomes:
            self.feed(self._chunk(outcomes))
        self._judge_ratings()

    def _judge_ratings(self) -> None:
        """Scores that came later than their outcomes, under the weights of those."""
        ratings = [rating for rating in self._ratings if self._epochs.known(rating.weight) is not None]
        self._ratings = []
        if ratings:
            epochs = [self._epochs.known(rating.weight) for rating in ratings]
            chunk = replace(self._chunk(ratings), epochs=np.asarray(epochs, np.int64))
            for judge in self._live:
                if isinstance(judge, ScoreJudge):
                    judge.add(chunk)

    def _chunk(self, outcomes: Sequence[Outcome]) -> Chunk:
        values: dict[str, Any] = {}
        for name, field in self._columns.items():
            values[name] = _column([getattr(outcome, field) for outcome in outcomes])
        for name in self.spec.scores:
            values[f"scores.{name}"] = _column([outcome.scores.get(name) for outcome in outcomes])
        return Chunk(
            at=np.asarray([outcome.at for outcome in outcomes], float),
            weight=np.asarray([outcome.weight for outcome in outcomes], float),
            candidate=np.asarray([outcome.arm == "candidate" for outcome in outcomes], bool),
            keys=np.asarray([hash_of(outcome.key) for outcome in outcomes], np.int64),
            failed=[outcome.failed for outcome in outcomes],
            values=values,
            groups=self._groups(outcomes),
        )

    def _groups(self, outcomes: Sequence[Outcome]) -> dict[str, Integers]:
        groups: dict[str, list[int]] = {}
        for dimension in self.spec.segments:
            for place, outcome in enumerate(outcomes):
                group = outcome.segment.get(dimension)
                if group is not None:
                    groups.setdefault(f"{dimension}={group}", []).append(place)
        for label in groups:
            if label not in self._labels and len(self._labels) < self.spec.segments_most:
                self._labels.append(label)
        return {label: np.asarray(groups[label], np.int64) for label in self._labels if label in groups}

    def feed_pairs(self, metric: str, keys: Integers, at: Array, baseline: Array, candidate: Array) -> None:
        """Pairs of a metric as columns; keys are hashes."""
        self._paired[metric].add(keys, at, baseline, candidate)

    def _judge_pairs(self) -> None:
        for name in self._paired:
            pairs = [pair for pair in self._pairs if pair.metric == name]
            if pairs:
                self.feed_pairs(
                    name,
                    np.asarray([hash_of(pair.key) for pair in pairs], np.int64),
                    np.asarray([pair.at for pair in pairs], float),
                    np.asarray([pair.baseline for pair in pairs], float),
                    np.asarray([pair.candidate for pair in pairs], float),
                )
        self._pairs = []

    def dump(self) -> dict[str, Any]:
        """All that is known, JSON-able and bounded: some 100 kB a metric at most. `load` goes on from it."""
        self._judge_all()
        return {
            "version": VERSION,
            "began": self._began,
            "seen": self._seen,
            "candidate_keys": self._candidate_keys,
            "labels": self._labels,
            "epochs": self._epochs.dump(),
            "first": self._first.dump(),
            "judges": {judge.name: judge.dump() for judge in self.judges},
            "history": self.history.dump(),
        }

    @classmethod
    def load(cls, spec: Spec, dumped: Mapping[str, Any]) -> Analysis:
        """Go on where `dump` was, with the same spec.

        Raises:
            ValueError: it is the state of another spec, or of another version.
        """
        analysis = cls(spec)
        try:
            if dumped["version"] != VERSION or sorted(dumped["judges"]) != sorted(
                judge.name for judge in analysis.judges
            ):
                raise ValueError("it is of another version, or of other metrics")
            analysis._restore(dumped)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"this is no state of this analysis: {error}") from error
        return analysis

    def _restore(self, dumped: Mapping[str, Any]) -> None:
        self._began, self._seen = dumped["began"], int(dumped["seen"])
        self._candidate_keys, self._labels = int(dumped["candidate_keys"]), [*dumped["labels"]]
        self._epochs.restore(dumped["epochs"])
        self._first.restore(dumped["first"])
        for judge in self.judges:
            judge.restore(dumped["judges"][judge.name])
        self.history.restore(dumped["history"])


def _column(values: Sequence[float | None]) -> Array:
    return np.asarray([np.nan if value is None else value for value in values], float)
