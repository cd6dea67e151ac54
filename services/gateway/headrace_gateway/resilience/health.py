"""How each deployment does for each model, as this process sees it: breakers, outliers, allowances, first tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Protocol

from headrace_gateway.context import RequestContext
from headrace_gateway.resilience.allowance import Allowance
from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.resilience.breaker import CLOSED, CircuitBreaker
from headrace_gateway.resilience.latencies import FirstTokens
from headrace_gateway.routing.plan import ModelPlan, Pool, Target
from headrace_kit.config.resilience import Breaker, Outliers
from headrace_kit.errors import DeadlineExceeded, HeadraceError, NotReady, Upstream

_SWEEP_S = 1.0
_STEADY_S = 10.0


class HealthMetrics(Protocol):
    """Where it is counted."""

    def breaker(self, model: str, deployment: str, state: int) -> None:
        """A breaker changed: 0 closed, 1 half open, 2 open."""
        ...

    def ejection(self, model: str, deployment: str, reason: str) -> None:
        """A deployment is left alone: `consecutive`, `failures`, `probe`, `slow` or `errors`."""
        ...

    def retry(self, model: str, outcome: str) -> None:
        """A further try in a pool was `made`, or `refused` by the budget."""
        ...

    def hedge(self, model: str, outcome: str) -> None:
        """A hedge `won` or `lost`, or was `refused` by a budget."""
        ...

    def failover(self, model: str, outcome: str) -> None:
        """An answer that broke off was `continued`, or `failed`."""
        ...


class Deployment:
    """One deployment for one model. `probe` is the attempt that probes it after it was left alone."""

    __slots__ = ("breaker", "first_tokens", "probe")

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.first_tokens = FirstTokens()
        self.probe: Attempt | None = None


class _Model:
    """One model."""

    __slots__ = ("deployments", "hedges", "retries", "swept")

    def __init__(self, plan: ModelPlan, now: float) -> None:
        self.deployments: dict[str, Deployment] = {}
        self.retries = Allowance(now, plan.resilience.retry.budget.per_second * _STEADY_S)
        self.hedges = Allowance(now, 1.0)
        self.swept = now


class Health:
    """Fulfils `AttemptListener`, and is what the chooser asks.

    Kept by model and deployment: another model's prompts may be longer, and its policy is its own. It lives as long as
    the process, whatever config comes.

    Args:
        metrics: where it is counted.
        clock: seconds, never running backwards.
    """

    def __init__(self, metrics: HealthMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self.metrics = metrics
        self._clock = clock
        self._models: dict[str, _Model] = {}

    def healthy(self, ctx: RequestContext, target: Target) -> bool:
        """Whether a request may be sent to a deployment: always where nothing else could serve it."""
        if ctx.plan is None or (model := self._models.get(ctx.plan.name)) is None:
            return True
        known = model.deployments.get(target.name)
        if known is None or known.breaker.state == CLOSED or ctx.plan.resilience.breaker is None:
            return True
        return ctx.desperate or known.breaker.allows(self._clock())

    def request(self, plan: ModelPlan) -> None:
        """A request begins: it earns its share of further attempts."""
        model = self._model(plan)
        model.retries.earn(plan.resilience.retry.budget.share / 10_000)
        if plan.resilience.hedge is not None:
            model.hedges.earn(plan.resilience.hedge.at_most / 10_000)

    def may_retry(self, plan: ModelPlan) -> bool:
        """Take a further attempt out of the model's retry budget; False where there is none left."""
        allowed = self._model(plan).retries.spend(self._clock(), plan.resilience.retry.budget.per_second)
        self.metrics.retry(plan.name, "made" if allowed else "refused")
        return allowed

    def may_hedge(self, plan: ModelPlan) -> bool:
        """The same for a hedge, which counts as a further try too."""
        model = self._model(plan)
        allowed = model.hedges.spend(self._clock()) and self.may_retry(plan)
        if not allowed:
            self.metrics.hedge(plan.name, "refused")
        return allowed

    def hedge_after_s(self, plan: ModelPlan, target: Target) -> float | None:
        """How long to wait for a deployment's first token before another is asked too; None: for ever."""
        hedge = plan.resilience.hedge
        if hedge is None:
            return None
        if hedge.after != "p95":
            return hedge.after
        known = self._model(plan).deployments.get(target.name)
        return known.first_tokens.p95() if known else None

    def began(self, attempt: Attempt) -> None:
        """See `AttemptListener`."""
        plan = attempt.ctx.plan
        if plan is None:
            return
        known = self.known(plan, attempt.target.name)
        if known.breaker.state != CLOSED and known.breaker.began(self._clock()):
            known.probe = attempt
            self.metrics.breaker(plan.name, attempt.target.name, known.breaker.state)

    def ended(self, attempt: Attempt) -> None:
        """See `AttemptListener`."""
        plan = attempt.ctx.plan
        if plan is None:
            return
        model = self._model(plan)
        known = model.deployments.get(attempt.target.name) or self.known(plan, attempt.target.name)
        now = self._clock()
        probe = known.probe is attempt
        if probe:
            known.probe = None
        failed = failure(attempt)
        waited_s = attempt.elapsed_s if attempt.verdict == "lost" else attempt.first_token_s
        if waited_s is not None:
            known.first_tokens.add(waited_s, now)
        policy = plan.resilience.breaker
        if policy is None:
            return
        before = known.breaker.state
        reason = known.breaker.ended(policy, now, failed=failed, probe=probe)
        if reason:
            self._out(plan, attempt.target.name, known, reason)
        elif known.breaker.state != before:
            known.first_tokens.clear()
            self.metrics.breaker(plan.name, attempt.target.name, known.breaker.state)
        outliers = plan.resilience.outliers
        if outliers is not None and now - model.swept >= _SWEEP_S:
            model.swept = now
            for stage in plan.stages:
                if len(stage.pool.members) > 1:
                    self._sweep(plan, model, stage.pool, policy, outliers, now)

    def known(self, plan: ModelPlan, name: str) -> Deployment:
        """What is known of a deployment of a model."""
        deployments = self._model(plan).deployments
        known = deployments.get(name)
        if known is None:
            known = deployments[name] = Deployment()
        return known

    def _sweep(
        self, plan: ModelPlan, model: _Model, pool: Pool, policy: Breaker, outliers: Outliers, now: float
    ) -> None:
        """Leave alone whoever does much worse than the others of its pool, as long as enough of them are left."""
        known = {
            target.name: model.deployments[target.name] for target in pool.targets if target.name in model.deployments
        }
        out = sum(one.breaker.state != CLOSED for one in known.values())
        for name, one in known.items():
            if (out + 1) * 10_000 > outliers.most_out * len(pool.members):
                return
            if one.breaker.state != CLOSED:
                continue
            others = [other for other in known.values() if other is not one and other.breaker.state == CLOSED]
            reason = _worse(one, others, policy, outliers, now)
            if reason:
                one.breaker.open(policy, now)
                self._out(plan, name, one, reason)
                out += 1

    def _out(self, plan: ModelPlan, name: str, known: Deployment, reason: str) -> None:
        known.first_tokens.clear()
        self.metrics.breaker(plan.name, name, known.breaker.state)
        self.metrics.ejection(plan.name, name, reason)

    def _model(self, plan: ModelPlan) -> _Model:
        model = self._models.get(plan.name)
        if model is None:
            model = self._models[plan.name] = _Model(plan, self._clock())
        return model


def _worse(one: Deployment, others: list[Deployment], policy: Breaker, outliers: Outliers, now: float) -> str:
    """`errors` or `slow` where one deployment does much worse than others; empty where it does not, or who knows."""
    attempts, failures = one.breaker.window.counts(now, policy.window)
    counts = [other.breaker.window.counts(now, policy.window) for other in others]
    theirs = sum(count for count, _ in counts)
    if attempts >= policy.least_attempts and theirs >= policy.least_attempts:
        more = failures / attempts - sum(failed for _, failed in counts) / theirs
        if more * 10_000 >= outliers.more_failures:
            return "errors"
    mine = one.first_tokens.fresh(now)
    rest = [seconds for other in others for seconds in other.first_tokens.fresh(now)]
    if len(mine) >= policy.least_attempts and len(rest) >= policy.least_attempts:
        usual = median(rest)
        slow = median(mine)
        if slow >= outliers.slower_than * usual and slow - usual >= outliers.slower_by:
            return "slow"
    return ""


def failure(attempt: Attempt) -> bool | None:
    """Whether an attempt tells that its deployment is ill; None where it tells nothing.

    A full deployment is not ill, nor one that refused bad input. Running out of time is its fault where it had all the
    time that the model grants and said nothing.
    """
    error = attempt.error
    if attempt.verdict == "lost":
        return None
    if error is None:
        return False
    if isinstance(error, Upstream | NotReady) or type(error) is HeadraceError:
        return True
    if isinstance(error, DeadlineExceeded | TimeoutError) or attempt.expired:
        given, plan = attempt.ctx.arrival.remaining_s, attempt.ctx.plan
        whole = plan is not None and (given is None or given >= plan.timeout_s)
        return True if whole and attempt.first_token_s is None else None
    if isinstance(error, HeadraceError):
        return None
    if not isinstance(error, Exception):
        return None
    return True
