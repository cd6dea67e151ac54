"""Model servers that batch continuously, and what can be measured of them.

A server has `slots`; a request holds one for its prompt and its answer, and each running request slows the others a
little. What finds no slot waits, first come, first served. A new server takes `load_s` until it answers, and is paid
for from the moment it is asked for; one that is to go takes no new request and is paid for until its last one is done.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Engine:
    """A model server on one GPU.

    Attributes:
        slots: requests that run at one time.
        prefill_s: time to the first token of a request that runs alone.
        token_s: time of a further token then.
        crowded: how much longer both take when all slots are taken, as a factor.
        load_s: from asking for a server until it answers: a node, an image, weights, warming.
        cpu_idle: CPU of the pod, as a share of what it requests, without work; and with all slots taken.
        cpu_busy: see there.
    """

    slots: int = 32
    prefill_s: float = 0.25
    token_s: float = 0.012
    crowded: float = 2.2
    load_s: float = 180.0
    cpu_idle: float = 0.12
    cpu_busy: float = 0.55

    @property
    def capacity(self) -> float:
        """Requests per second of one server whose slots are always taken, of mean length."""
        return self.slots / ((self.prefill_s + MEAN_TOKENS * self.token_s) * self.crowded)


MEAN_TOKENS = 220.0


@dataclass
class Server:
    """One of them."""

    ready_at: float
    asked_at: float
    running: int = 0
    leaving: bool = False


@dataclass
class Fleet:
    """All of them, and the requests that wait.

    Attributes:
        waits: time to the first token of each request that began, in seconds.
        gpu_s: seconds of servers that were paid for.
        length: of answers that begin now, relative to the mean.
        changes: how often the number of servers changed.
    """

    engine: Engine
    random: np.random.Generator
    servers: list[Server] = field(default_factory=list)
    waiting: deque[float] = field(default_factory=deque)
    waits: list[float] = field(default_factory=list)
    gpu_s: float = 0.0
    length: float = 1.0
    changes: int = 0
    _ends: list[tuple[float, int]] = field(default_factory=list)
    _by_id: dict[int, Server] = field(default_factory=dict)
    _held: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def want(self, replicas: int, now: float) -> None:
        """Ask for so many servers; newest ones go first."""
        staying = [server for server in self.servers if not server.leaving]
        self.changes += replicas != len(staying)
        for _ in range(replicas - len(staying)):
            server = Server(now + self.engine.load_s, now)
            self.servers.append(server)
            self._by_id[id(server)] = server
        for server in sorted(staying, key=lambda one: -one.asked_at)[: max(0, len(staying) - replicas)]:
            server.leaving = True

    def pass_to(self, now: float, step_s: float, arrivals: int) -> None:
        """One step: what ends, what comes, what begins."""
        while self._ends and self._ends[0][0] <= now:
            _, place = heapq.heappop(self._ends)
            self._by_id[place].running -= 1
        self.waiting.extend([now] * arrivals)
        for server in sorted(self.ready(now), key=lambda one: one.running):
            while self.waiting and server.running < self.engine.slots:
                # Spread over the servers: nobody takes more than its share of what waits.
                if server.running > min(one.running for one in self.ready(now)):
                    break
                self._begin(server, self.waiting.popleft(), now)
        while self.waiting and (free := [one for one in self.ready(now) if one.running < self.engine.slots]):
            self._begin(min(free, key=lambda one: one.running), self.waiting.popleft(), now)
        gone = [server for server in self.servers if server.leaving and server.running == 0]
        self.servers = [server for server in self.servers if server not in gone]
        self.gpu_s += step_s * len(self.servers)

    def ready(self, now: float) -> list[Server]:
        """Those that take requests."""
        return [server for server in self.servers if not server.leaving and server.ready_at <= now]

    def running(self) -> int:
        """Requests that run."""
        return sum(server.running for server in self.servers)

    def held_s(self) -> float:
        """Mean time for which the last requests hold their place."""
        return sum(self._held) / len(self._held) if self._held else 0.0

    def _begin(self, server: Server, came: float, now: float) -> None:
        server.running += 1
        slower = 1 + (self.engine.crowded - 1) * server.running / self.engine.slots
        self.waits.append(now - came + self.engine.prefill_s * slower)
        tokens = self.random.exponential(MEAN_TOKENS * self.length)
        held = (self.engine.prefill_s + tokens * self.engine.token_s) * slower
        self._held.append(held)
        heapq.heappush(self._ends, (now + held, id(server)))
