"""What keys with several requests tell: the mean of a key's scores, and how alike its requests are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array, Flags, Integers
from headrace_rollout.analysis.keys import Epochs, _Bounded, pack, unpack

LEVELS = (4, 16, 64)
"""After how many requests the mean of a key's scores is bet on; the first request is bet on by itself."""


@dataclass(frozen=True, slots=True)
class Means:
    """Keys that have just come to a level: means of their scores, arms and chances of the candidate."""

    scores: Array
    candidate: Flags
    chance: Array


class Repeats(_Bounded):
    """Sums of scores by key since the weight last changed, of a sample of keys.

    Also the dispersion of each score: how many times larger the variance of its mean is than if requests of a key were
    independent of each other (the design effect of cluster sampling).
    """

    def __init__(self, epochs: Epochs, scores: int, capacity: int = 2_048) -> None:
        super().__init__(epochs, capacity)
        self._row: dict[int, int] = {}
        self._seen = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._chance = np.zeros(0)
        self._sums, self._residuals, self._squares = (np.zeros((0, scores)) for _ in range(3))

    def add(self, keys: Integers, candidate: Flags, epochs: Integers, scores: Array, middles: Array) -> list[Means]:
        """Scores of requests, a row each. Means of those keys that came to a level, by level."""
        if self.mask:
            part = keys >> 7 & self.mask == 0
            keys, candidate, epochs, scores = keys[part], candidate[part], epochs[part], scores[part]
        if not len(keys):
            return [Means(scores[:0], candidate[:0], np.zeros(0)) for _ in LEVELS]
        rows = self._rows(keys, candidate, epochs)
        np.add.at(self._residuals, rows, scores - middles)
        np.add.at(self._squares, rows, (scores - middles) ** 2)
        current = (self._seen[rows] >> 1 == epochs) & (self._chance[rows] > 0) & (self._chance[rows] < 1)
        rows, scores, candidate = rows[current], scores[current], candidate[current]
        order = np.argsort(rows, kind="stable")
        rows, scores, candidate = rows[order], scores[order], candidate[order]
        starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, np.int64)
        lengths = np.diff(np.r_[starts, len(rows)])
        running = np.cumsum(scores, axis=0)
        before = np.repeat(running[starts] - scores[starts], lengths, axis=0)
        sums = running - before + self._sums[rows]
        counts = np.arange(len(rows)) - np.repeat(starts, lengths) + 1 + self._count[rows]
        chance = self._chance[rows]
        ends = starts + lengths - 1
        self._sums[rows[ends]], self._count[rows[ends]] = sums[ends], counts[ends]
        if len(self._row) > self.capacity:
            self._shrink()
        return [
            Means(sums[at] / level, candidate[at], chance[at])
            for level, at in ((level, np.flatnonzero(counts == level)) for level in LEVELS)
        ]

    def dispersion(self) -> Array:
        """By score, 1 at least."""
        squares = self._squares.sum(axis=0)
        clustered = (self._residuals**2).sum(axis=0)
        ratio: Array = np.divide(clustered, squares, out=np.ones_like(squares), where=squares > 0)
        return np.maximum(ratio, 1.0)

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        tables = (self._chance, self._sums, self._residuals, self._squares)
        return [
            self.mask,
            pack("I", self._row),
            pack("H", self._seen.tolist()),
            pack("I", self._count.tolist()),
            *(pack("f", table.ravel().tolist()) for table in tables),
        ]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.mask = int(dumped[0])
        self._row = {key: row for row, key in enumerate(unpack("I", dumped[1]))}
        self._seen, self._count = (
            np.asarray(unpack(*packed), np.int64) for packed in zip("HI", dumped[2:4], strict=True)
        )
        self._chance = np.asarray(unpack("f", dumped[4]), float)
        shape = (len(self._row), self._sums.shape[1])
        self._sums, self._residuals, self._squares = (
            np.asarray(unpack("f", table), float).reshape(shape) for table in dumped[5:8]
        )

    def _rows(self, keys: Integers, candidate: Flags, epochs: Integers) -> Integers:
        """Rows of keys, new ones added; a key that comes into a new epoch begins anew."""
        known, missing = self._row, []
        rows = np.empty(len(keys), np.int64)
        for index, key in enumerate(keys.tolist()):
            row = known.get(key)
            if row is None:
                row = known[key] = len(known)
                missing.append(index)
            rows[index] = row
        if missing:
            new = len(missing)
            self._seen = np.r_[self._seen, epochs[missing] << 1 | candidate[missing]]
            self._count = np.r_[self._count, np.zeros(new, np.int64)]
            self._chance = np.r_[self._chance, np.asarray(self.epochs.weights)[epochs[missing]]]
            for name in ("_sums", "_residuals", "_squares"):
                table = getattr(self, name)
                setattr(self, name, np.r_[table, np.zeros((new, table.shape[1]))])
        for index in np.flatnonzero(epochs > self._seen[rows] >> 1).tolist():
            row, epoch = rows[index], int(epochs[index])
            seen = int(self._seen[row])
            chance = self.epochs.chance(epoch, seen)
            if chance and epoch > seen >> 1:
                self._seen[row] = epoch << 1 | bool(candidate[index])
                self._chance[row], self._count[row], self._sums[row] = chance, 0, 0.0
        return rows

    def _shrink(self) -> None:
        """Leave out half of the keys, or more."""
        before = list(self._row)
        self._thin(self._row)
        kept = np.fromiter((key in self._row for key in before), bool, len(before))
        self._row = {key: row for row, key in enumerate(self._row)}
        for name in ("_seen", "_count", "_chance", "_sums", "_residuals", "_squares"):
            setattr(self, name, getattr(self, name)[kept])
