"""`rollouts:` a model swap is a change here."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from headrace_kit.config.base import Duration, Section
from headrace_kit.config.rollout_analysis import Analysis
from headrace_kit.config.rollout_steps import Freeze, Schedule, Shadow, Step


class Rollout(Section):
    """The swap of one model to its candidate."""

    candidate: dict[str, Any] = Field(
        min_length=1, description="Merge patch (RFC 7396) over the model's own spec: any part of it."
    )
    steps: tuple[Step, ...] = Field(min_length=1, description="In order, weights never falling; the last is 100%.")
    analysis: Analysis | None = Field(
        None, description="How the candidate is judged on live traffic. Without it steps go by time alone."
    )
    hold: Duration = Field(
        3600,
        description="How long a step may wait for a person when its `at_most` has passed; then it is rolled back.",
    )
    schedule: Schedule | None = Field(None, description="When steps may begin. Default: at any time.")
    freeze: tuple[Freeze, ...] = Field((), description="Times in which no step begins.")
    shadow: Shadow = Field(default_factory=Shadow, description="What copies of requests may take.")

    @field_validator("steps")
    @classmethod
    def _order(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        for number in range(1, len(steps)):
            before, weight = steps[number - 1].weight, steps[number].weight
            if weight < before:
                raise ValueError(
                    f"steps[{number}].weight is {weight / 100:g}%, less than the {before / 100:g}% of the step before "
                    f"it: weights of steps must not fall"
                )
        if steps[-1].weight != 10_000:
            raise ValueError(
                f"steps[{len(steps) - 1}].weight is {steps[-1].weight / 100:g}%: the last step must have weight 100%"
            )
        return steps


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
