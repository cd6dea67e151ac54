"""The whole config and what must hold across its sections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from headrace_kit.config.base import Name, Section
from headrace_kit.config.cascades import TOKEN_SIGNALS, Check, Verifier, silent
from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.config.collections import Collection
from headrace_kit.config.deployments import (
    Deployment,
    LanguageDeployment,
    LlamaCppDeployment,
    OnnxDeployment,
    entries_of,
    outside,
    tasks,
)
from headrace_kit.config.deployments.capabilities import refusals
from headrace_kit.config.evaluations import Evaluation
from headrace_kit.config.guardrails import Policy
from headrace_kit.config.models import Model
from headrace_kit.config.nearest import nearest
from headrace_kit.config.rollout_analysis import LIVE_SCORES
from headrace_kit.config.rollout_steps import PairJudge
from headrace_kit.config.rollouts import Rollout, ServiceCandidate, Target, candidate_spec, service_of
from headrace_kit.config.routing import PoolEntry, unserved
from headrace_kit.config.services import Services, Stores, Telemetry
from headrace_kit.config.tenants import Tenant

_GIB = 1 << 30


class Config(Section):
    """`headrace.yaml`."""

    tenants: dict[Name, Tenant] = Field(default_factory=dict, description="Teams and what they may use.")
    catalogue: dict[Name, CatalogueEntry] = Field(default_factory=dict, description="Model files and their sources.")
    deployments: dict[Name, Deployment] = Field(default_factory=dict, description="Models on engines.")
    models: dict[Name, Model] = Field(default_factory=dict, description="What product teams name.")
    rollouts: dict[Target, Rollout] = Field(
        default_factory=dict,
        description="Swaps in progress, by model; `service/gateway` and `service/guardrails`: a new release of it.",
    )
    evals: dict[Name, Evaluation] = Field(default_factory=dict, description="Suites that rollouts may run.")
    guardrails: dict[Name, Policy] = Field(default_factory=dict, description="Policies.")
    collections: dict[Name, Collection] = Field(default_factory=dict, description="Collections that always exist.")
    services: Services = Field(default_factory=Services, description="Settings of single services.")
    stores: Stores = Field(default_factory=Stores, description="PostgreSQL and Valkey.")
    telemetry: Telemetry = Field(default_factory=Telemetry, description="Where spans go.")

    @model_validator(mode="after")
    def _references(self) -> Config:
        for name, deployment in self.deployments.items():
            self._check_deployment(name, deployment)
        self._check_memory()
        for name, model in self.models.items():
            self.check_model(model, ("models", name))
        for name, rollout in self.rollouts.items():
            if service_of(name) is not None:
                self.check_service_rollout(rollout, ("rollouts", name))
                continue
            _known(name, self.models, "models", ("rollouts", name))
            for arm, patch in rollout.patches().items():
                where = ("rollouts", name, arm)
                try:
                    candidate = self.candidate(name, patch)
                except ValidationError as error:
                    first = error.errors()[0]
                    raise _failure((*where, *first["loc"]), first["msg"]) from None
                self.check_model(candidate, where)
                self.check_candidate(name, candidate, where)
            self.check_rollout(rollout, ("rollouts", name))
        topics = self.services.tracing.drift.topics.embedding
        if topics is not None:
            embedding = [one for one in self._doing("embed") if not outside(self.deployments[one])]
            place = ("services", "tracing", "drift", "topics", "embedding")
            _known(topics, embedding, "embedding deployments of inference", place)
        for name, evaluation in self.evals.items():
            if self.tenants:
                _known(evaluation.tenant, self.tenants, "tenants", ("evals", name, "tenant"))
        for name, policy in self.guardrails.items():
            self._check_policy(policy, ("guardrails", name))
        for name, collection in self.collections.items():
            # retrieval embeds through inference
            embedding = [one for one in self._doing("embed") if not outside(self.deployments[one])]
            _known(
                collection.embedding,
                embedding,
                "embedding deployments of inference",
                ("collections", name, "embedding"),
            )
            if self.tenants:
                for tenant in (collection.tenant, *collection.shared_with):
                    _known(tenant, self.tenants, "tenants", ("collections", name, "tenant"))
            for policy_name in collection.guardrails:
                _known(policy_name, self.guardrails, "guardrails", ("collections", name, "guardrails"))
        for name, team in self.tenants.items():
            for policy_name in team.guardrails:
                _known(policy_name, self.guardrails, "guardrails", ("tenants", name, "guardrails"))
            for model_name in team.allow_models or ():
                _known(model_name, self.models, "models", ("tenants", name, "allow_models"))
            self._check_served(name, team)
        return self

    def _check_served(self, name: str, team: Tenant) -> None:
        """A tenant's constraints must leave it each model that it is given by name; of all models, one."""
        if not team.bounded or not self.models:
            return
        why = {}
        for model in team.allow_models or self.models:
            reason = unserved(team, self.models[model], self.deployments)
            if reason and team.allow_models is not None:
                raise _failure(("tenants", name, "allow_models"), f"{model!r} can never serve this tenant: {reason}")
            why[model] = reason
        if why and all(why.values()):
            model, reason = next(iter(why.items()))
            raise _failure(("tenants", name), f"no model can ever serve this tenant; for {model!r}, {reason}")

    def check_candidate(self, name: str, candidate: Model, where: tuple[str | int, ...]) -> None:
        """Every tenant that the model `name` can serve, its candidate must be able to serve too.

        Raises:
            PydanticCustomError: type `reference`, as `check_model`.
        """
        for tenant, team in self.tenants.items():
            if team.bounded and (team.allow_models is None or name in team.allow_models):
                reason = unserved(team, candidate, self.deployments)
                if reason and not unserved(team, self.models[name], self.deployments):
                    raise _failure(where, f"it could not serve the tenant {tenant!r}, which the model does: {reason}")

    def _check_deployment(self, name: str, deployment: Deployment) -> None:
        where = ("deployments", name)
        if isinstance(deployment, LanguageDeployment | OnnxDeployment):
            _known(deployment.model, self.catalogue, "catalogue", (*where, "model"))
        if not isinstance(deployment, LanguageDeployment):
            return
        if deployment.speculation.draft is not None:
            _known(deployment.speculation.draft, self.catalogue, "catalogue", (*where, "speculation", "draft"))
        for adapter, wanted in deployment.adapters.items():
            _known(wanted.model, self.catalogue, "catalogue", (*where, "adapters", adapter, "model"))
        for option, message in refusals(deployment.engine, deployment):
            raise _failure((*where, *option.split(".")), message)

    def _check_memory(self) -> None:
        """The weights alone must fit into the memory that is stated; caches are counted where the files are."""
        limit = self.services.inference.memory_gib
        if limit is None:
            return
        shares: dict[str, dict[str, int]] = {}
        for name, deployment in self.deployments.items():
            if isinstance(deployment, LlamaCppDeployment | OnnxDeployment):
                sizes = {
                    entry: sum(file.size for file in self.catalogue[entry].files) for entry in entries_of(deployment)
                }
                shares[name] = sizes
        total = sum({entry: size for sizes in shares.values() for entry, size in sizes.items()}.values())
        if total > limit * _GIB:
            listed = ", ".join(f"{name} {sum(sizes.values()) / _GIB:.2f}" for name, sizes in shares.items())
            raise _failure(
                ("services", "inference", "memory_gib"),
                f"{limit:g} GiB are less than the deployments' weights, {total / _GIB:.2f} GiB together: {listed}",
            )

    def _doing(self, task: str) -> list[str]:
        return [name for name, deployment in self.deployments.items() if task in tasks(deployment)]

    def check_model(self, model: Model, where: tuple[str | int, ...]) -> None:
        """Check a model's references.

        Raises:
            PydanticCustomError: type `reference`; its context names the place and the nearest valid name.
        """
        entries = list(_entries(model, where))
        for entry, place in entries:
            _known(entry.deployment, self.deployments, "deployments", (*place, "deployment"))
            if entry.adapter is not None:
                deployment = self.deployments[entry.deployment]
                known = deployment.adapters if isinstance(deployment, LanguageDeployment) else {}
                _known(entry.adapter, known, f"deployments.{entry.deployment}.adapters", (*place, "adapter"))
            for kind in ("image", "audio"):
                accepts = getattr(self.deployments[entry.deployment], "accepts", ())
                if entry.when is not None and getattr(entry.when, kind) and kind not in accepts:
                    raise _failure((*place, "when", kind), f"{entry.deployment!r} does not accept {kind}")
        for fallback in model.fallbacks:
            _known(fallback, self.deployments, "deployments", (*where, "fallbacks"))
        names = [*(entry.deployment for entry, _ in entries), *model.fallbacks]
        kinds = {tasks(self.deployments[name]) for name in names}
        if len(kinds) > 1:
            raise _failure(where, "all deployments of a model must do the same task")
        if model.guardrails is not None:
            _known(model.guardrails, self.guardrails, "guardrails", (*where, "guardrails"))
        for collection in model.collections:
            _known(collection, self.collections, "collections", (*where, "collections"))
        if model.rewrite is not None:
            rewriter = self.services.retrieval.rewriter
            if rewriter is None:
                raise _failure((*where, "rewrite"), "rewriting needs a model: set services.retrieval.rewriter")
            place = ("services", "retrieval", "rewriter")
            _known(rewriter, self._doing("generate"), "deployments that generate", place)
        if model.conversations is not None:
            place = (*where, "conversations")
            memories = [name for name, one in self.collections.items() if one.kind == "memory"]
            _known(model.conversations.memory, memories, "collections of the kind memory", (*place, "memory"))
            if self.task(model) != "generate":
                raise _failure(place, "only models that generate text keep conversations")
        self._check_cache(model, (*where, "cache"))
        self._check_signals(model, where)

    def _check_signals(self, model: Model, where: tuple[str | int, ...]) -> None:
        """Each deployment that is judged must give the signal, where that is known."""
        checks: list[tuple[Check, tuple[PoolEntry, ...], tuple[str | int, ...]]] = [
            (stage.accept, stage.pool, (*where, "cascade", number, "accept"))
            for number, stage in enumerate(model.cascade)
            if stage.accept is not None
        ]
        if model.low_confidence is not None:
            last = (*model.stages[-1].pool, *(PoolEntry(deployment=fallback) for fallback in model.fallbacks))
            checks.append((model.low_confidence, last, (*where, "low_confidence")))
            hook = model.low_confidence.webhook
            named = self.services.gateway.webhook_hosts
            if hook is not None and not hook.url.startswith("https:") and hook.host not in named:
                raise _failure(
                    (*where, "low_confidence", "webhook", "url"),
                    f"must be https, or {hook.host!r} be in services.gateway.webhook_hosts",
                )
        if model.learned is not None and model.learned.embedding is not None:
            place = (*where, "learned", "embedding")
            _known(model.learned.embedding, self._doing("embed"), "embedding deployments", place)
        for check, entries, place in checks:
            if self.task(model) != "generate":
                raise _failure(place, "only answers of models that generate text are judged")
            if check.signal in TOKEN_SIGNALS:
                for entry in entries:
                    if reason := silent(self.deployments[entry.deployment]):
                        raise _failure((*place, "signal"), f"{entry.deployment!r} cannot give {check.signal}: {reason}")
            if check.verifier is not None:
                self._check_verifier(check.verifier, (*place, "verifier"))

    def _check_policy(self, policy: Policy, where: tuple[str | int, ...]) -> None:
        """Checks of tier 2 and 3 ask deployments of inference."""
        for direction, checks in policy.by_direction.items():
            for number, check in enumerate(checks):
                for field, task in (("embedding", "embed"), ("classifier", "classify"), ("deployment", "")):
                    name = getattr(check, field, None)
                    if name is None:
                        continue
                    wanted = task or ("generate" if check.check == "judge" else "classify")
                    place = (*where, direction, number, field)
                    inside = [one for one in self._doing(wanted) if not outside(self.deployments[one])]
                    _known(name, inside, f"deployments of inference that {wanted}", place)
                    if wanted == "classify":
                        known = getattr(self.deployments[name], "labels", ())
                        labels = getattr(check, "labels", None) or (getattr(check, "label", ""),)
                        for label in labels:
                            _known(label, known, "the deployment's labels", place)

    def _check_verifier(self, verifier: Verifier, where: tuple[str | int, ...]) -> None:
        able = [*self._doing("generate"), *self._doing("classify")]
        _known(verifier.deployment, able, "deployments that generate or classify", (*where, "deployment"))
        deployment = self.deployments[verifier.deployment]
        if tasks(deployment) != ("classify",):
            if verifier.label is not None:
                raise _failure((*where, "label"), "label is for a deployment of task classify")
            return
        if verifier.label is None or verifier.instructions is not None:
            raise _failure(where, "a deployment of task classify takes label, and no instructions")
        _known(verifier.label, getattr(deployment, "labels", ()), "the deployment's labels", (*where, "label"))

    def _check_cache(self, model: Model, where: tuple[str | int, ...]) -> None:
        if model.cache is None:
            return
        if self.task(model) != "generate":
            raise _failure(where, "only answers of models that generate text are cached")
        semantic = model.cache.semantic
        if semantic is None:
            return
        _known(semantic.embedding, self._doing("embed"), "embedding deployments", (*where, "semantic", "embedding"))
        if semantic.reranker is not None:
            _known(semantic.reranker, self._doing("rerank"), "rerank deployments", (*where, "semantic", "reranker"))

    def check_rollout(self, rollout: Rollout, where: tuple[str | int, ...]) -> None:
        """Check what a rollout names besides its candidate. Raises PydanticCustomError with `where`."""
        if rollout.shadow.similarity is not None:
            embedding = self._doing("embed")
            _known(rollout.shadow.similarity, embedding, "embedding deployments", (*where, "shadow", "similarity"))
        if rollout.shadow.judge is not None:
            self._check_judge(rollout.shadow.judge, (*where, "shadow", "judge"))
        elif rollout.analysis is not None and "judge" in rollout.analysis.pairs:
            raise _failure(
                (*where, "analysis", "pairs", "judge"), "nothing compares answers: name a model in shadow.judge"
            )
        for name in rollout.analysis.scores if rollout.analysis is not None else ():
            _known(name, LIVE_SCORES, "scores of live answers", (*where, "analysis", "scores", name))
        for number, step in enumerate(rollout.steps):
            if step.evaluate is not None:
                _known(step.evaluate, self.evals, "evals", (*where, "steps", number, "evaluate"))

    def _check_judge(self, judge: PairJudge, where: tuple[str | int, ...]) -> None:
        generating = [name for name, model in self.models.items() if self.task(model) == "generate"]
        _known(judge.model, generating, "models that generate", (*where, "model"))
        if self.tenants:
            _known(judge.tenant, self.tenants, "tenants", (*where, "tenant"))
        allowed = self.tenants.get(judge.tenant, Tenant()).allow_models
        if allowed is not None and judge.model not in allowed:
            raise _failure(
                (*where, "tenant"), f"tenants.{judge.tenant}.allow_models has no {judge.model!r}, so it cannot be asked"
            )

    def check_service_rollout(self, rollout: Rollout, where: tuple[str | int, ...]) -> ServiceCandidate:
        """Check the rollout of one of our services; its candidate. Raises PydanticCustomError with `where`."""
        try:
            candidate = ServiceCandidate.model_validate(rollout.candidate)
        except ValidationError as error:
            first = error.errors()[0]
            raise _failure(
                (*where, "candidate", *first["loc"]), f"a service's candidate has `release` alone: {first['msg']}"
            ) from None
        for number, step in enumerate(rollout.steps):
            for option in ("shadow", "evaluate"):
                if getattr(step, option):
                    raise _failure(
                        (*where, "steps", number, option),
                        "only a weight puts requests on a release of a service: none is copied, no suite is asked",
                    )
        if rollout.fresh_baseline is not None:
            raise _failure((*where, "fresh_baseline"), "a release of a service is compared with the one that runs")
        if rollout.analysis is not None and rollout.analysis.pairs:
            raise _failure((*where, "analysis", "pairs"), "there are no shadows of a service to compare")
        return candidate

    def candidate(self, name: str, patch: Mapping[str, Any]) -> Model:
        """The model `name` with a rollout's merge patch applied.

        Raises:
            ValidationError: the result is not a model.
        """
        spec = self.models[name].model_dump(mode="json", exclude_defaults=True)
        return Model.model_validate(candidate_spec(spec, dict(patch)))

    def task(self, model: Model) -> str:
        """What a model does: `generate`, `embed` or `rerank`."""
        return tasks(self.deployments[model.stages[0].pool[0].deployment])[0]


def _entries(model: Model, where: tuple[str | int, ...]) -> Iterator[tuple[PoolEntry, tuple[str | int, ...]]]:
    """Each deployment of the stages, and where it stands."""
    for number, stage in enumerate(model.stages):
        stands = (*where, "cascade", number) if model.cascade else where
        for place, entry in enumerate(stage.pool):
            yield entry, (*stands, "deployments", place) if stage.deployments else stands


def _failure(where: tuple[str | int, ...], message: str) -> PydanticCustomError:
    return PydanticCustomError("reference", "{message}", {"message": message, "where": where})


def _known(name: str, valid: Iterable[str], section: str, where: tuple[str | int, ...]) -> None:
    valid = list(valid)
    if name not in valid:
        raise _failure(where, f"{name!r} is not in {section}{nearest(name, valid)}")
