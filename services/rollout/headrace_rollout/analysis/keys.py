"""Each sticky key is one toss of a coin: which keys may be bet on, and what the odds were.

A rollout puts a key on an arm once, by its hash, so a second request of the same key says nothing new about the coin,
and requests of one key resemble each other. So a key is bet on once in each test. When the weight grows, those that
were on the baseline are tossed again, with odds that are known too: of keys above 5%, a weight of 25% takes 20 in 95.

What is remembered is bounded: when there are too many keys, half of them, chosen by their hash alone, no longer take
part.
"""

from __future__ import annotations

import base64
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array

LATE_S = 600.0
"""How long after a change of the weight requests may end that began before it."""


def hash_of(key: str) -> int:
    """32 bits of a key."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))


class Epochs:
    """The weights under which keys were put on arms, one after the other."""

    def __init__(self) -> None:
        self.weights: list[float] = []
        self._since = 0.0

    def of(self, weight: float, at: float) -> int:
        """The epoch of an outcome: a new one where the weight is new."""
        if self.weights and weight == self.weights[-1]:
            return len(self.weights) - 1
        if len(self.weights) > 1 and weight == self.weights[-2] and at < self._since + LATE_S:
            return len(self.weights) - 2
        self.weights.append(weight)
        self._since = at
        return len(self.weights) - 1

    def known(self, weight: float) -> int | None:
        """The last epoch with a weight; None where there was none."""
        return next((epoch for epoch in reversed(range(len(self.weights))) if self.weights[epoch] == weight), None)

    def chance(self, epoch: int, seen: int | None) -> float:
        """The chance that a key is on the candidate, given where it was `seen` in an earlier epoch; 0: known."""
        weight = self.weights[epoch]
        if seen is None:
            return weight
        before = self.weights[seen >> 1]
        if seen & 1 or seen >> 1 == epoch or weight <= before:
            return 0.0
        return (weight - before) / (1 - before)

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return [self.weights, self._since]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.weights, self._since = [float(weight) for weight in dumped[0]], float(dumped[1])


class _Bounded:
    """Keys by their hash; at most `capacity`."""

    def __init__(self, epochs: Epochs, capacity: int) -> None:
        self.epochs = epochs
        self.capacity = capacity
        self.mask = 0

    def takes_part(self, key: int) -> bool:
        """Whether this key is among those that still take part."""
        return not key >> 7 & self.mask

    def _thin(self, known: dict[int, Any]) -> None:
        while len(known) > self.capacity:
            self.mask = self.mask << 1 | 1
            for key in [key for key in known if not self.takes_part(key)]:
                del known[key]


class FirstTime(_Bounded):
    """Bets on each key when something happens to it for the first time."""

    def __init__(self, epochs: Epochs, capacity: int = 32_768) -> None:
        super().__init__(epochs, capacity)
        self._seen: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def chances(self, keys: Sequence[int], candidate: Sequence[bool], epochs: Sequence[int]) -> Array:
        """For each key in turn the chance that it would be the candidate; 0 where it is not bet on."""
        chances = np.zeros(len(keys))
        seen, of = self._seen, self.epochs.chance
        mask = self.mask
        for index, key in enumerate(keys):
            if mask and not self.takes_part(key):
                continue
            epoch = epochs[index]
            chance = of(epoch, seen.get(key))
            if chance > 0:
                chances[index] = chance
                seen[key] = epoch << 1 | bool(candidate[index])
        if len(seen) > self.capacity:
            self._thin(seen)
        return chances

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return [self.mask, pack("I", self._seen.keys()), pack("H", self._seen.values())]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.mask = int(dumped[0])
        self._seen = dict(zip(unpack("I", dumped[1]), unpack("H", dumped[2]), strict=True))


class Counts(_Bounded):
    """Bets on each key when something happens to it for the 1st, 2nd, 4th, ... time."""

    def __init__(self, epochs: Epochs, levels: int, capacity: int = 8_192) -> None:
        super().__init__(epochs, capacity)
        self._level = {1 << level: level for level in range(levels)}
        self._known: dict[int, list[float]] = {}

    def hit(self, key: int, candidate: bool, epoch: int) -> tuple[int, float] | None:
        """It happened to a key. The level to bet on and the chance of the candidate; None where there is no bet."""
        if self.mask and not self.takes_part(key):
            return None
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = [epoch << 1 | candidate, 0, self.epochs.chance(epoch, None)]
            if len(self._known) > self.capacity:
                self._thin(self._known)
        seen = int(known[0])
        if epoch < seen >> 1:
            return None
        if epoch > seen >> 1:
            chance = self.epochs.chance(epoch, seen)
            # a key that can be nowhere else keeps what is known of it
            known[:] = [epoch << 1 | candidate if chance else seen, 0, chance]
            if not chance:
                return None
        known[1] += 1
        level = self._level.get(int(known[1]))
        return None if level is None or not 0 < known[2] < 1 else (level, known[2])

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        rows = self._known.values()
        return [
            self.mask,
            pack("I", self._known.keys()),
            pack("H", (int(row[0]) for row in rows)),
            pack("I", (int(row[1]) for row in rows)),
            pack("f", (row[2] for row in rows)),
        ]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.mask = int(dumped[0])
        rows = zip(unpack("H", dumped[2]), unpack("I", dumped[3]), unpack("f", dumped[4]), strict=True)
        self._known = dict(zip(unpack("I", dumped[1]), map(list, rows), strict=True))


def pack(kind: str, values: Any) -> str:
    return base64.b64encode(array(kind, values).tobytes()).decode()


def unpack(kind: str, text: str) -> list[Any]:
    values = array(kind)
    values.frombytes(base64.b64decode(text))
    return values.tolist()
