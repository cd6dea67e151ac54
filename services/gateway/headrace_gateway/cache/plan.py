"""A model's cache settings, compiled into what a request needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b

from headrace_kit.config.caching import Cache
from headrace_kit.config.document import Config
from headrace_kit.config.models import Model


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The settings, and a fingerprint of everything in the config that shapes an answer of this model.

    Another policy, deployment, cascade or arm is another fingerprint, so it never meets the answers of this one.
    """

    settings: Cache
    fingerprint: bytes


def compile_cache(model: Model, config: Config) -> CachePlan | None:
    """The plan of a valid model; None where it has no cache."""
    if model.cache is None:
        return None
    spec = model.model_dump(mode="json", exclude={"cache"})
    # Wherever in the spec a deployment is named; one too many only makes the fingerprint finer.
    said = json.dumps(spec)
    shapes = {
        "model": spec,
        "deployments": {
            name: deployment.model_dump(mode="json")
            for name, deployment in config.deployments.items()
            if json.dumps(name) in said
        },
        "policy": config.guardrails[model.guardrails].model_dump(mode="json") if model.guardrails else None,
        "collections": {name: config.collections[name].model_dump(mode="json") for name in model.collections},
    }
    canonical = json.dumps(shapes, sort_keys=True, separators=(",", ":"))
    return CachePlan(model.cache, blake2b(canonical.encode(), digest_size=16).digest())
