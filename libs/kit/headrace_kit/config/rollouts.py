"""`rollouts:` a model swap is a change here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator, model_validator

from headrace_kit.config.base import Duration, Section
from headrace_kit.config.rollout_analysis import Analysis
from headrace_kit.config.rollout_steps import Freeze, Schedule, Shadow, Step

Target = Annotated[str, StringConstraints(pattern=r"^(service/(gateway|guardrails)|[a-z0-9][a-z0-9._-]{0,62})$")]
"""What a rollout moves: a model by its name, or one of our own services, as `service/gateway`."""

_SERVICE = "service/"


def service_of(target: str) -> str | None:
    """The service that a rollout moves; None where it moves a model."""
    return target.removeprefix(_SERVICE) if target.startswith(_SERVICE) else None


class ServiceCandidate(Section):
    """The candidate of a rollout of one of our services."""

    release: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]*$",
        description="What its pods have in HEADRACE_RELEASE; the chart sets it to the tag or digest of the image.",
    )


class Rollout(Section):
    """The swap of one model, or of one of our own services, to its candidate."""

    candidate: dict[str, Any] = Field(
        min_length=1,
        description="Merge patch (RFC 7396) over the model's own spec: any part of it. Of a service: its `release`.",
    )
    fresh_baseline: dict[str, Any] | None = Field(
        None,
        description="Compare the candidate with a baseline as young as it is, where what has run for long is faster "
        "by its warm caches alone: as many sticky keys as the candidate has are on this arm, and the rest is not "
        "compared. Merge patch over the model's own spec, of `deployment`, `deployments`, `cascade` and `fallbacks` "
        "only: the same model on replicas that begin with the rollout. `{}`: the same replicas, with a cache of "
        "answers of its own.",
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
    unload: bool = Field(
        True,
        description="Unload the candidate's deployments when the rollout is over, where no model, policy or collection "
        "names them and no other rollout stands that does.",
    )

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

    @field_validator("fresh_baseline")
    @classmethod
    def _same_model(cls, patch: dict[str, Any] | None) -> dict[str, Any] | None:
        if other := sorted(set(patch or ()) - {"deployment", "deployments", "cascade", "fallbacks"}):
            raise ValueError(
                f"{other[0]!r} makes it another model: a fresh baseline may only name other deployments of the same one"
            )
        return patch

    @model_validator(mode="after")
    def _room(self) -> Rollout:
        """Both arms that are compared have the same share, so half of the keys is the most of each."""
        if self.fresh_baseline is None:
            return self
        for number, step in enumerate(self.steps):
            if 5_000 < step.weight < 10_000:
                raise ValueError(
                    f"steps[{number}].weight is {step.weight / 100:g}%: above 50% no fresh baseline of the same size "
                    "has room; go from 50% to 100%, or leave fresh_baseline out"
                )
        return self

    def patches(self) -> dict[str, dict[str, Any]]:
        """What is tried beside the model, by field: the candidate, and the fresh baseline if there is one."""
        fresh = self.fresh_baseline
        return {"candidate": self.candidate} | ({} if fresh is None else {"fresh_baseline": fresh})

    def fresh_share(self, weight: int) -> int:
        """Share of sticky keys on the fresh baseline while the candidate has `weight`; both in 1/10000."""
        return weight if self.fresh_baseline is not None and weight < 10_000 else 0


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
