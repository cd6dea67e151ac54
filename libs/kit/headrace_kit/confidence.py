"""What the alternatives of a token say about how sure a model was of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

_NOTHING_LEFT = 1e-9


def margin_and_entropy(logprobs: Iterable[float]) -> tuple[float, float] | None:
    """Margin and entropy of one token, in nats, from the natural log probabilities of its most likely alternatives.

    The margin is the lead of the first over the second. The entropy is that over the alternatives, with all that were
    not told taken together as one more. None with fewer than two alternatives: they say nothing.
    """
    values = sorted(logprobs, reverse=True)
    if len(values) < 2:
        return None
    told = entropy = 0.0
    for value in values:
        chance = math.exp(min(0.0, value))
        told += chance
        entropy -= chance * value
    rest = 1.0 - told
    return values[0] - values[1], entropy - rest * math.log(rest) if rest > _NOTHING_LEFT else entropy
