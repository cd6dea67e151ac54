"""What the config wants, and what it makes of a candidate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from headrace_kit.config import Config
from headrace_kit.config.deployments import outside
from headrace_kit.config.nearest import nearest
from headrace_kit.config.rollouts import Rollout as Spec
from headrace_kit.config.rollouts import service_of
from headrace_kit.config.used import stage_deployments, texts, used_deployments
from headrace_kit.errors import BadInput
from headrace_rollout.domain.records import ID_DIGITS, Record, rollout_id


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
        self._arms: dict[str, str] = {}

    def problem(self, wanted: Wanted) -> str:
        """Why the candidate cannot be served under this config; empty when it can."""
        try:
            self.check(wanted)
        except BadInput as error:
            return error.message
        return ""

    def adopted(self, wanted: Wanted) -> bool:
        """Whether the config's own model already is the candidate."""
        if service_of(wanted.model) is not None:
            return self._release(wanted) == str(wanted.spec.candidate["release"])
        model = self._config.models.get(wanted.model)
        return model is not None and self._config.candidate(wanted.model, wanted.spec.candidate) == model

    def arms(self, wanted: Wanted) -> str:
        """A digest of what a rollout that has no `problem` compares: the model as it is and as each arm makes it, and
        the deployments that they ask; of a service, the release that runs."""
        if wanted.id not in self._arms:
            self._arms[wanted.id] = self._digest(wanted)
        return self._arms[wanted.id]

    def _digest(self, wanted: Wanted) -> str:
        compared: list[Any] = [self._release(wanted)]
        if service_of(wanted.model) is None:
            models = [self._config.models[wanted.model]]
            models += [self._config.candidate(wanted.model, patch) for patch in wanted.spec.patches().values()]
            named = sorted({name for model in models for name in stage_deployments(model)})
            parts = [*models, *(self._config.deployments[name] for name in named)]
            # Defaults are left out, so that new ones of another version change nothing.
            compared = [named, *(part.model_dump(mode="json", exclude_defaults=True) for part in parts)]
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:ID_DIGITS]

    def candidate_deployments(self, record: Record) -> list[str]:
        """The deployments of inference that a candidate and a fresh baseline ask; none where the config no longer
        allows them."""
        if record.service or self.problem(Wanted(record.model, record.spec)):
            return []
        names: dict[str, None] = {}
        for patch in record.spec.patches().values():
            names |= dict.fromkeys(stage_deployments(self._config.candidate(record.model, patch)))
        return [name for name in names if not outside(self._config.deployments[name])]

    def unneeded(self, record: Record, standing: Iterable[Record]) -> list[str]:
        """Of a candidate's deployments those that nothing names but this rollout, which is over."""
        if not record.spec.unload:
            return []
        others = [other.spec for other in standing if other.id != record.id]
        others += [wanted.spec for wanted in self.by_model.values() if wanted.id != record.id]
        needed = set(used_deployments(self._config))
        for spec in others:
            needed.update(texts(spec.model_dump(mode="json")))
        return [name for name in self.candidate_deployments(record) if name not in needed]

    def check(self, wanted: Wanted) -> None:
        """Check a rollout against the config.

        Raises:
            BadInput: there is no such model, or the candidate is none; `param` names the field.
        """
        if service_of(wanted.model) is not None:
            self._check_service(wanted)
            return
        if wanted.model not in self._config.models:
            raise BadInput(
                f"model {wanted.model!r} is not in the config{nearest(wanted.model, self._config.models)}",
                param="model",
            )
        arm = "candidate"
        try:
            for arm, patch in wanted.spec.patches().items():
                made = self._config.candidate(wanted.model, patch)
                self._config.check_model(made, (arm,))
                self._config.check_candidate(wanted.model, made, (arm,))
            self._config.check_rollout(wanted.spec, ())
        except ValidationError as error:
            first = error.errors()[0]
            raise _bad((arm, *first["loc"]), first["msg"]) from error
        except PydanticCustomError as error:
            context = error.context or {}
            raise _bad(context.get("where", (arm,)), error.message()) from error

    def _release(self, wanted: Wanted) -> str | None:
        services = self._config.services
        runs = {"gateway": services.gateway.release, "guardrails": services.guardrails.release}
        return runs.get(service_of(wanted.model) or "")

    def _check_service(self, wanted: Wanted) -> None:
        service, settings = service_of(wanted.model), self._config.services.rollout
        if service == "guardrails":
            if service not in settings.pods:
                raise BadInput(
                    f"{wanted.model!r} has no second release: services.rollout.pods does not name it; the chart sets "
                    "that with `guardrails.canary.enabled`",
                    param="model",
                )
            if self._config.services.guardrails.canary_address is None:
                raise BadInput(
                    f"{wanted.model!r} cannot be asked: say in services.guardrails.canary_address where its second "
                    "release listens; the chart sets that with `guardrails.canary.enabled`",
                    param="model",
                )
        elif service not in settings.routes:
            known = ", ".join(f"service/{name}" for name in (*settings.routes, *settings.pods)) or "none"
            raise BadInput(
                f"{wanted.model!r} has no routes that share out its requests: services.rollout.routes has no such "
                "service; the chart sets them with `gateway.canary.enabled` and a route. Services with a second "
                f"release: {known}",
                param="model",
            )
        try:
            self._config.check_service_rollout(wanted.spec, ())
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
