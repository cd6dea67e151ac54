"""The event log as its readers see it: ledger and rollout analysis."""

from __future__ import annotations

from collections.abc import Sequence

STREAM = "headrace:events"
"""Valkey's stream of `RequestEvent`s; each reader keeps its own place in it."""

FIELD = b"events"
"""The field of a stream entry that holds the `RequestEvents` of one shipment."""

_AHEAD = 10_000


def advance(reached: int, ahead: Sequence[int], positions: Sequence[int]) -> tuple[int, list[int]]:
    """A reader's progress in one log after `positions` were read too.

    Args:
        reached: everything up to here was read before.
        ahead: positions behind a gap that were read before.
        positions: read now, in any order, perhaps again.

    Returns:
        The new `reached`, and what lies behind a gap still; of very many only the first, the others come again.
    """
    behind = sorted({position for position in (*ahead, *positions) if position > reached})
    taken = 0
    for position in behind:
        if position != reached + 1:
            break
        reached = position
        taken += 1
    return reached, behind[taken : taken + _AHEAD]
