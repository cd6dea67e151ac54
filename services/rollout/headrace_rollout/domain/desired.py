"""What the config wants, and what it makes of a candidate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from headrace_kit.config import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.config.rollouts import Rollout as Spec
from headrace_kit.errors import BadInput
from headrace_rollout.domain.records import rollout_id


@dataclass(frozen=True)
class Wanted:
    """A rollout that somebody asks for."""

    model: str
    spec: Spec

    @cached_property
    def id(self) -> str:
        """Its identity."""
        return rollout_id(self.model, self.spec)


class Desired:
    """One config snapshot, seen by the controller."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.by_model: Mapping[str, Wanted] = {model: Wanted(model, spec) for model, spec in config.rollouts.items()}

    def problem(self, wanted: Wanted) -> str:
        """Why the candidate cannot be served under this config; empty when it can."""
        try:
            self.check(wanted)
        except BadInput as error:
            return error.message
        return ""

    def adopted(self, wanted: Wanted) -> bool:
        """Whether the config's own model already is the candidate."""
        model = self._config.models.get(wanted.model)
        return model is not None and self._config.candidate(wanted.model, wanted.spec.candidate) == model

    def check(self, wanted: Wanted) -> None:
        """Check a rollout against the config.

        Raises:
            BadInput: there is no such model, or the candidate is none; `param` names the field.
        """
        if wanted.model not in self._config.models:
            raise BadInput(
                f"model {wanted.model!r} is not in the config{nearest(wanted.model, self._config.models)}",
                param="model",
            )
        try:
            candidate = self._config.candidate(wanted.model, wanted.spec.candidate)
            self._config.check_model(candidate, ("candidate",))
            self._config.check_candidate(wanted.model, candidate, ("candidate",))
            self._config.check_rollout(wanted.spec, ())
        except ValidationError as error:
            first = error.errors()[0]
            raise _bad(("candidate", *first["loc"]), first["msg"]) from error
        except PydanticCustomError as error:
            context = error.context or {}
            raise _bad(context.get("where", ("candidate",)), error.message()) from error


def read_spec(text: str) -> Spec:
    """A rollout's spec from JSON.

    Raises:
        BadInput: `param` names the field, for example `spec_json.steps[0].weight`.
    """
    try:
        tree = json.loads(text, parse_constant=_no_constant)
        if "\\u0000" in text:
            raise ValueError("it has a NUL character")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"spec_json is not JSON: {error}", param="spec_json") from error
    try:
        return Spec.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown key"
        raise _bad(first["loc"], message) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _bad(where: tuple[Any, ...], message: str) -> BadInput:
    param = "spec_json"
    for part in where:
        param += f"[{part}]" if isinstance(part, int) else f".{part}"
    return BadInput(f"{param}: {message.removeprefix('Value error, ')}", param=param)
