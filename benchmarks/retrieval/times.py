"""How long something took, many times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds by the clock, and CPU milliseconds of the service and of PostgreSQL each time (0: not known)."""

    p50: float
    p99: float
    cpu: float = 0.0
    postgres_cpu: float = 0.0


def times(seconds: Sequence[float], cpu: float = 0.0, postgres_cpu: float = 0.0) -> Times:
    """Median and 99th percentile in milliseconds, beside what is given of CPU time."""
    p50, p99 = np.quantile(np.asarray(seconds) * 1000, (0.5, 0.99))
    return Times(float(p50), float(p99), cpu, postgres_cpu)
