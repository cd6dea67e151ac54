"""The release of guardrails that a request's texts are judged by while a new one is tried: the gateway shares out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headrace_gateway.arms.split import BASELINE, CANDIDATE, point, unit
from headrace_protos.rollout.v1.messages_pb2 import Split

TARGET = "service/guardrails"


@dataclass(slots=True)
class Trial:
    """A request while a new release of guardrails is tried, and how its calls to its release went.

    Attributes:
        rollout_id: of the rollout.
        arm: `baseline` or `candidate`.
        weight: the candidate's share of keys when the request came, in 1/10000.
        unit: the statistical unit: who asks, as for a model.
        release: the candidate's.
        failure: how a call to its release failed: `error`, `timeout`, or empty.
    """

    rollout_id: str
    arm: str
    weight: int
    unit: str
    release: str
    failure: str = ""
    _asked: bool = False
    _stranger: bool = False

    @property
    def by_candidate(self) -> bool:
        """Whether the candidate is asked next: it is for the whole request, until it fails once."""
        return self.arm == CANDIDATE and not self.failure

    @property
    def counts(self) -> bool:
        """Whether the request says something of its arm: its release was asked, and nothing else has answered.

        The candidate is what names its release in its answers. A pod of it with another image is on no arm, nor is a
        stable one that runs the candidate's release already.
        """
        return self._asked and not self._stranger

    def answered(self, release: str) -> None:
        """What runs `release` gave a verdict."""
        self._asked = True
        if (release == self.release) != (self.arm == CANDIDATE):
            self._stranger = True

    def failed(self, failure: str) -> None:
        """A call gave no verdict. An error does not say whose it is, so it is held to be the arm's."""
        self._asked = True
        self.failure = self.failure or failure


@dataclass(frozen=True, slots=True)
class Tried:
    """A release of guardrails that is tried, as it was granted. `weight` is its share of keys, in 1/10000."""

    rollout_id: str
    weight: int
    salt: str
    release: str

    @classmethod
    def of(cls, split: Split) -> Tried:
        """It, out of a grant."""
        release = str(json.loads(split.candidate_json).get("release", ""))
        return cls(split.rollout_id, split.weight, split.salt, release)

    def trial(self, sticky_key: str) -> Trial:
        """What a request of `sticky_key` tries."""
        arm = CANDIDATE if point(self.salt, sticky_key) < self.weight else BASELINE
        return Trial(self.rollout_id, arm, self.weight, unit(self.salt, sticky_key), self.release)
