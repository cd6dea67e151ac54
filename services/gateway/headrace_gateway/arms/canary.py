"""The arm that this very process is on while a new release of gateways is tried: by what it runs, not by a hash."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headrace_gateway.arms.split import BASELINE, CANDIDATE, unit
from headrace_gateway.context import Arrival
from headrace_gateway.running import Running
from headrace_protos.rollout.v1.messages_pb2 import Split

TARGET = "service/gateway"
ROUTED = "x-headrace-routed"
"""Header that the chart's routes set on what they share out between two releases."""

_ROUTES = ("chat/completions", "completions", "responses", "embeddings", "rerank")
_METHODS = ("Generate", "GenerateStream", "Embed", "Rerank")
_COUNTED = frozenset(
    {
        *(f"POST /v1/{route}" for route in _ROUTES),
        *(f"headrace.gateway.v1.GatewayService/{method}" for method in _METHODS),
    }
)


@dataclass(frozen=True, slots=True)
class Canary:
    """A request on a release of the gateway; `weight` is the candidate's share of requests when it came, in 1/10000."""

    rollout_id: str
    arm: str
    weight: int
    salt: str

    def unit(self, request: str) -> str:
        """The statistical unit. Proxies toss for each request by itself, so it is the request: `request` is an id of
        it that no caller chooses."""
        return unit(self.salt, request)


def counted(arrival: Arrival) -> bool:
    """Whether a request is one that releases are judged by: for a model, and shared out by a route.

    Who calls the stable Service by itself was never tossed for, and may be anybody but an average caller.
    """
    return arrival.routed and arrival.route in _COUNTED


def canary_of(running: Running, split: Split | None) -> Canary | None:
    """The arm of a process; None where no release is tried, or it is neither the candidate nor what was there before.

    Pods of the canary that run another release than the rollout is about say nothing of either.
    """
    if split is None:
        return None
    if running.release == json.loads(split.candidate_json).get("release"):
        return Canary(split.rollout_id, CANDIDATE, split.weight, split.salt)
    return Canary(split.rollout_id, BASELINE, split.weight, split.salt) if running.track == "stable" else None
