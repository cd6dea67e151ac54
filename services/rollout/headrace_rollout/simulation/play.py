"""Plays one rollout to its end."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headrace_rollout.analysis import Analysis
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.simulation.laws import Requests, draw, outcomes
from headrace_rollout.simulation.peers import PEERS, Peer
from headrace_rollout.simulation.scenario import Scenario

End = Literal["rolled back", "held too long", "missing", "promoted", "running"]

SMALLEST, LARGEST = 64, 1_024
"""Requests from one look to the next: an eighth of those so far. A rollback is found to the very request."""


@dataclass(frozen=True, slots=True)
class Played:
    """How a play ended.

    Attributes:
        end: how.
        cause: what was beyond, or the metric that held it.
        at: seconds.
        requests: of the candidate until then, or pairs where only pairs are judged.
        step: the last.
    """

    end: End
    cause: str
    at: float
    requests: int
    step: int


@dataclass(frozen=True, slots=True)
class Game:
    """One play by the analysis, and by the peers on the same requests."""

    ours: Played
    peers: dict[str, Played]


def play(scenario: Scenario, seed: np.random.SeedSequence, with_peers: bool) -> Game:
    """Play a scenario once."""
    requests = draw(scenario, np.random.default_rng(seed))
    peers = {name: _play_peer(scenario, requests, make(scenario)) for name, make in PEERS.items()} if with_peers else {}
    return Game(Play(scenario, requests).run(), peers)


class Play:
    """A rollout that is played; `run` it once."""

    largest = LARGEST

    def __init__(self, scenario: Scenario, requests: Requests) -> None:
        self.scenario = scenario
        self.requests = requests
        self.analysis = Analysis(scenario.analysis)
        self.analysis.begin(0.0)
        self.served = 0
        self.looks: list[tuple[int, int, float]] = []
        self.holding = ""
        self.only_pairs = all(name.startswith("pairs.") for name, _ in scenario.analysis.metrics())
        self.missing_since: float | None = None

    def run(self) -> Played:
        """Until it ends."""
        scenario, at = self.scenario, self.requests.at
        step, since, place = 0, 0.0, 0
        while place < len(at) and self.served < scenario.canary_requests:
            weight = scenario.steps[step].weight / 10_000
            end = min(len(at), place + min(self.largest, max(SMALLEST, place // 8)))
            self._feed(place, end, weight)
            if cause := self._beyond():
                end = self._exactly(place, end, weight)
                self._looked(float(at[end - 1]))
                return self._ended("rolled back", cause, float(at[end - 1]), step)
            self._looked(float(at[end - 1]))
            self.looks.append((place, end, weight))
            self.served += self._of_candidate(place, end, weight)
            now, place = float(at[end - 1]), end
            done = self._advances(scenario, step, since, now)
            if done == "next":
                step, since = step + 1, now
                if step == len(scenario.steps) or scenario.steps[step].weight == 10_000:
                    return self._ended("promoted", "", now, step)
            elif done:
                return self._ended(done, self.holding, now, step)
        return self._ended("running", self._why(float(at[place - 1])), float(at[place - 1]), step)

    def _looked(self, now: float) -> None:
        """All up to `now` was judged."""

    def _advances(self, scenario: Scenario, step: int, since: float, now: float) -> End | Literal["next", ""]:
        verdicts = self.analysis.states(now)
        limit = scenario.analysis.missing_limit
        missing = [name for name, state in verdicts.items() if state == "missing"]
        self.missing_since = (now if self.missing_since is None else self.missing_since) if missing else None
        if missing and limit is not None and self.missing_since is not None and now - self.missing_since >= limit:
            self.holding = missing[0]
            return "missing"
        at_least, at_most = scenario.steps[step].at_least, scenario.steps[step].at_most
        held = [name for name, state in verdicts.items() if state != "within"]
        if not held and now - since >= at_least:
            return "next"
        if at_most is not None and now - since >= at_most:
            self.holding = held[0] if held else ""
            return "held too long"
        return ""

    def _why(self, now: float) -> str:
        return next((name for name, state in self.analysis.states(now).items() if state != "within"), "")

    def _ended(self, end: End, cause: str, now: float, step: int) -> Played:
        return Played(end, cause, now, self.served, step)

    def _exactly(self, start: int, end: int, weight: float) -> int:
        """The end of the requests that showed harm: all is judged again up to there, then little by little."""
        self.analysis = Analysis(self.scenario.analysis)
        self.analysis.begin(0.0)
        for look in self.looks:
            self._feed(*look)
        while end - start > 1:
            before, middle = copy.deepcopy(self.analysis), (start + end) // 2
            self._feed(start, middle, weight)
            if self._beyond():
                self.analysis, end = before, middle
            else:
                self.served += self._of_candidate(start, middle, weight)
                start = middle
        self._feed(start, end, weight)
        self.served += self._of_candidate(start, end, weight)
        return end

    def _beyond(self) -> str:
        return next((name for name, state in self.analysis.states(None).items() if state == "beyond"), "")

    def _feed(self, start: int, end: int, weight: float) -> None:
        requests = self.requests
        for name, (baseline, candidate) in requests.pairs.items():
            self.analysis.feed_pairs(
                name,
                requests.keys[start:end],
                requests.at[start:end],
                baseline[start:end].astype(float),
                candidate[start:end].astype(float),
            )
        if weight > 0 and not self.only_pairs:
            self.analysis.feed(outcomes(self.scenario, requests, start, end, weight))

    def _of_candidate(self, start: int, end: int, weight: float) -> int:
        if self.only_pairs:
            return end - start
        return int((self.requests.place[start:end] < weight).sum())


def _play_peer(scenario: Scenario, requests: Requests, peer: Peer) -> Played:
    """A peer looks once a minute, as analysis runs of Argo Rollouts and checks of Flagger do."""
    at, served, place, step, since = requests.at, 0, 0, 0, 0.0
    while place < len(at) and served < scenario.canary_requests:
        weight = scenario.steps[step].weight / 10_000
        end = max(place + 1, int(np.searchsorted(at, at[place] + 60.0, "right")))
        chunk: Chunk = outcomes(scenario, requests, place, min(end, len(at)), weight)
        served += int(chunk.candidate.sum())
        now, place = float(at[min(end, len(at)) - 1]), end
        if cause := peer.look(chunk):
            return Played("rolled back", cause, now, served, step)
        # with nothing but thresholds, a step has passed when its time has
        if now - since >= max(scenario.steps[step].at_least, 300.0) and len(scenario.steps) > 1:
            step, since = step + 1, now
            if step == len(scenario.steps) or scenario.steps[step].weight == 10_000:
                return Played("promoted", "", now, served, step)
    return Played("running", "", float(at[min(place, len(at)) - 1]), served, step)
