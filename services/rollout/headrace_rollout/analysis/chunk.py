"""Outcomes as columns, in the order in which they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace_rollout.analysis.betting import Array, Flags, Integers


@dataclass(frozen=True)
class Chunk:
    """Outcomes that can be compared.

    Attributes:
        at: when each ended, seconds.
        weight: each one's chance of the candidate, inside 0 to 1.
        candidate: whether the candidate served it.
        keys: hashes of the sticky keys.
        failed: kinds of failures, None for answers.
        values: quantities and scores by name; NaN where there is none.
        epochs: see `keys.Epochs`.
        first_answer: each one's chance of the candidate if it is the first answer of its key, else 0.
        groups: places of outcomes by the label of their segment, for example `tenant=acme`.
    """

    at: Array
    weight: Array
    candidate: Flags
    keys: Integers
    failed: Sequence[str | None]
    values: Mapping[str, Array] = field(default_factory=dict)
    epochs: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    first_answer: Array = field(default_factory=lambda: np.zeros(0))
    groups: Mapping[str, Integers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.at)

    def column(self, name: str) -> Array:
        """Values by name; all NaN where nothing has such a value."""
        found = self.values.get(name)
        return np.full(len(self), np.nan) if found is None else found

    def part(self, start: int, end: int) -> Chunk:
        """Outcomes from `start` to before `end`."""
        if start == 0 and end == len(self):
            return self
        groups = {label: places[(places >= start) & (places < end)] - start for label, places in self.groups.items()}
        return Chunk(
            at=self.at[start:end],
            weight=self.weight[start:end],
            candidate=self.candidate[start:end],
            keys=self.keys[start:end],
            failed=self.failed[start:end],
            values={name: column[start:end] for name, column in self.values.items()},
            groups={label: places for label, places in groups.items() if len(places)},
        )

    def only(self, kept: Flags) -> Chunk:
        """Some outcomes."""
        if kept.all():
            return self
        places, now_at = np.flatnonzero(kept), np.cumsum(kept) - 1
        return Chunk(
            at=self.at[places],
            weight=self.weight[places],
            candidate=self.candidate[places],
            keys=self.keys[places],
            failed=[self.failed[place] for place in places.tolist()],
            values={name: column[places] for name, column in self.values.items()},
            epochs=self.epochs[places] if len(self.epochs) else self.epochs,
            first_answer=self.first_answer[places] if len(self.first_answer) else self.first_answer,
            groups={label: now_at[of_label[kept[of_label]]] for label, of_label in self.groups.items()},
        )
