"""What scales the servers: Kubernetes' HorizontalPodAutoscaler on one metric or another.

Its algorithm (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/): every 15 s, replicas =
ceil(sum of the metric / target per replica) or, of a share, ceil(ready replicas x mean / target), no change within 10%,
the highest wish of the last 300 s on the way down. Metrics are as old as a scrape. `in work` and `offered` are what the
chart's KEDA triggers ask Prometheus for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.scaling.servers import Engine, Fleet

SYNC_S, SCRAPE_S, DOWN_S, TOLERANCE = 15, 30, 300, 0.1
RATE_S, WINDOW_S = 60, 300
"""Of a rate, and of the growth that a forecast goes by, as in the chart's queries."""


@dataclass
class Seen:
    """Metrics of one moment."""

    at: float
    replicas: int
    ready: int
    arrived: float
    running: int
    waiting: int
    held_s: float
    """Mean time that requests held their place, over the last minutes."""


@dataclass
class Policy(ABC):
    """A wish for replicas from what was seen."""

    name: str
    least: int = 1
    most: int = 24
    _wishes: deque[tuple[float, int]] = field(default_factory=deque)

    @abstractmethod
    def wish(self, seen: list[Seen], engine: Engine) -> float:
        """Replicas that the metric alone asks for, before rounding up."""

    def decide(self, seen: list[Seen], engine: Engine) -> int:
        """Replicas from now on."""
        now = seen[-1]
        wish = self.wish(seen, engine)
        replicas = now.replicas if abs(wish / max(now.replicas, 1) - 1) <= TOLERANCE else math.ceil(wish)
        replicas = min(max(replicas, self.least), self.most)
        self._wishes.append((now.at, replicas))
        while self._wishes[0][0] < now.at - DOWN_S:
            self._wishes.popleft()
        return max(replicas, min(now.replicas, max(wish for _, wish in self._wishes)))


@dataclass
class Cpu(Policy):
    """Mean CPU of the pods, as a share of what they request."""

    target: float = 0.7

    def wish(self, seen: list[Seen], engine: Engine) -> float:
        now = seen[-1]
        busy = now.running / max(1, now.ready * engine.slots)
        cpu = engine.cpu_idle + (engine.cpu_busy - engine.cpu_idle) * min(busy, 1.0)
        return max(now.ready, 1) * cpu / self.target


@dataclass
class Rate(Policy):
    """Requests per second over the last minute, and how many a server is held to take."""

    target: float = 1.0
    spare: int = 0

    def wish(self, seen: list[Seen], engine: Engine) -> float:
        last = [one.arrived for one in seen if one.at > seen[-1].at - RATE_S]
        return float(np.mean(last)) / self.target + self.spare


@dataclass
class InWork(Policy):
    """Requests that run or wait: `keda.inFlight` of the chart."""

    target: float = 22.0

    def wish(self, seen: list[Seen], engine: Engine) -> float:
        return (seen[-1].running + seen[-1].waiting) / self.target


@dataclass
class Offered(Policy):
    """Places that arrivals will take: their rate times the time that a request holds its place (Little's law).

    With a forecast the rate as it will be when a server that is asked for now is loaded, if it goes on growing so; and
    what waits, as if it were to be worked off in that time. `keda.offered`, `keda.forecastSeconds`, `keda.spare`.
    """

    target: float = 22.0
    forecast_s: float = 0.0
    spare: int = 0

    def wish(self, seen: list[Seen], engine: Engine) -> float:
        now = seen[-1]
        last = [one.arrived for one in seen if one.at > now.at - RATE_S]
        rate = float(np.mean(last))
        if self.forecast_s:
            growth = [one for one in seen if one.at > now.at - WINDOW_S]
            if len(growth) > 2:
                slope = np.polyfit([one.at for one in growth], [one.arrived for one in growth], 1)[0]
                rate += max(0.0, float(slope) * self.forecast_s)
            rate += now.waiting / self.forecast_s
        return rate * now.held_s / self.target + self.spare


def policies(engine: Engine) -> list[Policy]:
    """Those that are compared. Targets: 70% of what a server can take, for each metric in its own unit."""
    share = 0.7
    slots = engine.slots * share
    return [
        Cpu("CPU at 70%"),
        Cpu("CPU, target fitted to this engine", target=engine.cpu_idle + (engine.cpu_busy - engine.cpu_idle) * share),
        Rate("requests per second", target=engine.capacity * share),
        Rate("requests per second, one spare", target=engine.capacity * share, spare=1),
        InWork("in work", target=slots),
        Offered("offered", target=slots),
        Offered("offered, one spare", target=slots, spare=1),
        Offered("offered, forecast", target=slots, forecast_s=engine.load_s),
        Offered("offered, forecast, one spare", target=slots, forecast_s=engine.load_s, spare=1),
    ]


@dataclass(frozen=True)
class Outcome:
    """How a policy did: requests whose first token came later than the objective, GPU hours, changes of the number."""

    requests: int
    late: int
    gpu_hours: float
    changes: int
    p99_s: float


def play(policy: Policy, rates: np.ndarray, lengths: np.ndarray, engine: Engine, slo_s: float, seed: int) -> Outcome:
    """One run. The same seed brings the same requests to each policy."""
    arrivals = np.random.default_rng(seed).poisson(rates)
    fleet = Fleet(engine, np.random.default_rng(seed + 1))
    fleet.want(max(policy.least, math.ceil(rates[0] / engine.capacity)), -engine.load_s)
    fleet.changes = 0
    seen: list[Seen] = []
    visible: list[Seen] = []
    since = 0
    for second, came in enumerate(arrivals):
        fleet.length = float(lengths[second])
        fleet.pass_to(float(second), 1.0, int(came))
        since += int(came)
        if second % SYNC_S == 0:
            staying = [server for server in fleet.servers if not server.leaving]
            moment = (float(second), len(staying), len(fleet.ready(float(second))))
            seen.append(Seen(*moment, since / SYNC_S, fleet.running(), len(fleet.waiting), fleet.held_s()))
            since = 0
            # What is decided by is as old as the last scrape; how many replicas there are is not.
            visible = [one for one in seen if one.at <= second - second % SCRAPE_S]
            visible[-1] = replace(visible[-1], replicas=len(staying))
            fleet.want(policy.decide(visible, engine), float(second))
    waits = np.asarray(fleet.waits + [arrivals.size - came for came in fleet.waiting])
    return Outcome(
        int(waits.size), int((waits > slo_s).sum()), fleet.gpu_s / 3600, fleet.changes, float(np.quantile(waits, 0.99))
    )
