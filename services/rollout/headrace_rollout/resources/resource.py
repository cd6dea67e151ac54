"""A `ModelRollout` as the API server holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GROUP, VERSION, PLURAL, KIND = "headrace.dev", "v1alpha1", "modelrollouts", "ModelRollout"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = f"{GROUP}/rollout"
"""Holds a deleted resource until its model is back on the baseline."""
PROMOTE, ABORT, APPROVE = (f"{GROUP}/{verb}" for verb in ("promote", "abort", "approve"))
"""Annotations by which people act on a rollout; each is taken off when it was heard."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource.

    Attributes:
        spec: as in `rollouts:` of the config, without `model` and `queue`.
        queue: wait behind what stands of the model; else it takes that one's place.
        status: what was last written there; empty at first.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    model: str
    spec: Mapping[str, Any]
    queue: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Resource:
        """From the object as JSON. The CRD's schema has seen to its form."""
        metadata, spec = tree["metadata"], dict(tree.get("spec") or {})
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 1),
            resource_version=metadata["resourceVersion"],
            model=spec.pop("model", ""),
            queue=spec.pop("queue", False),
            spec=spec,
            annotations=metadata.get("annotations") or {},
            finalizers=tuple(metadata.get("finalizers") or ()),
            deleting="deletionTimestamp" in metadata,
            status=tree.get("status") or {},
        )

    @property
    def spec_json(self) -> str:
        """The spec as `RolloutService.Start` takes it."""
        return json.dumps(self.spec)
