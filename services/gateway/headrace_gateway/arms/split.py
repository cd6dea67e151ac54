"""Which arm of a rollout a request is on: a salted hash of its sticky key, the same on every replica."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from headrace_gateway.routing.plan import ModelPlan

POINTS = 10_000
"""A weight of this many is everybody."""

BASELINE, CANDIDATE = "baseline", "candidate"
FRESH = "fresh"
"""A baseline as young as the candidate, which the candidate is compared with."""

ARMS = (BASELINE, CANDIDATE, FRESH)


@dataclass(frozen=True, slots=True)
class JudgeLimits:
    """The model that compares answers of both arms, by which criteria, for which share of copies in 1/10000, and what
    it may cost in an hour at one gateway."""

    model: str
    criteria: str
    share: int
    nano_usd_per_hour: int


@dataclass(frozen=True, slots=True)
class ShadowLimits:
    """What the copies of a rollout may take at one gateway: at one time, and in an hour.

    `similarity` is the deployment that embeds both answers; empty: none does. `judge` compares them; None: nobody does.
    """

    concurrency: int
    nano_usd_per_hour: int
    similarity: str
    judge: JudgeLimits | None = None


NO_SHADOW = ShadowLimits(0, 0, "")


@dataclass(frozen=True, slots=True)
class Arm:
    """What a request is served by. `rollout_id` and `name` are empty where no rollout runs.

    `weight` is the candidate's share when the arm was chosen, `shadow` the share of requests copied to it; both
    in 1/10000. `salt` is the rollout's, which no caller knows.
    """

    plan: ModelPlan
    rollout_id: str
    name: str
    unit: str
    weight: int = 0
    shadow: int = 0
    limits: ShadowLimits = NO_SHADOW
    salt: str = ""

    @property
    def compared(self) -> bool:
        """Whether another arm is served too, so that outcomes can be compared."""
        return bool(self.rollout_id) and 0 < self.weight < POINTS


def point(salt: str, sticky_key: str) -> int:
    """Where a key falls, 0 to 9999, evenly spread. A key below a weight is on the candidate, at every later one too."""
    digest = blake2b(f"{salt}\0{sticky_key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) * POINTS >> 64


def unit(salt: str, sticky_key: str) -> str:
    """The statistical unit: names nobody, and cannot be compared across rollouts."""
    return blake2b(f"unit\0{salt}\0{sticky_key}".encode(errors="surrogatepass"), digest_size=8).hexdigest()
