"""`rollouts:` a model swap is a change here."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, Percent, Section
from headrace_kit.config.rollout_analysis import Analysis


class Step(Section):
    """One step: which share of sticky keys is on the candidate, and for how long at least."""

    weight: Percent = Field(description="Share of sticky keys on the candidate.")
    at_least: Duration = Field(0, description="Least time in this step before the next.")


class Rollout(Section):
    """The swap of one model to its candidate."""

    candidate: dict[str, Any] = Field(
        min_length=1, description="Merge patch (RFC 7396) over the model's own spec: any part of it."
    )
    steps: tuple[Step, ...] = Field(min_length=1, description="In order, weights never falling; the last is 100%.")
    analysis: Analysis | None = Field(
        None, description="How the candidate is judged on live traffic. Left out: steps advance by time alone."
    )

    @model_validator(mode="after")
    def _order(self) -> Rollout:
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError("weights of steps must not fall")
        if weights[-1] != 10_000:
            raise ValueError("the last step must have weight 100%")
        return self


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396) and return the result; arguments are left alone."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def candidate_spec(model: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The candidate's model spec: the patch over `model`.

    `deployment`, `deployments` and `cascade` replace each other. An adapter belongs to its deployment: naming another
    one leaves it behind.
    """
    base = dict(model)
    served_by = ("deployment", "deployments", "cascade")
    if any(name in patch for name in served_by):
        for name in (*served_by, "adapter"):
            base.pop(name, None)
    merged: dict[str, Any] = merge_patch(base, patch)
    return merged
