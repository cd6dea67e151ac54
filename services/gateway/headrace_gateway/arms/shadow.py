"""Copies of requests for a candidate, off their path: nobody sees the answers, graders compare them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass

from headrace_gateway.arms.grade import Said, grade
from headrace_gateway.arms.outcomes import GROUNDEDNESS, finished, groundedness
from headrace_gateway.arms.referee import Referee
from headrace_gateway.arms.split import ShadowLimits, point
from headrace_gateway.calls import GenerateCall
from headrace_gateway.cascade.learned import prompt_of
from headrace_gateway.context import Arrival, RequestContext, error_code, open_request
from headrace_gateway.ports import Journal
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, row

_log = logging.getLogger(__name__)
_HOUR_S = 3600.0

SHADOW_OF = "headrace.shadow.of"
"""In the trace of a copy: the request that it is a copy of."""

JUDGE = "judge"
"""Metric of a model that compares both answers."""

SCORE = "headrace.shadow.score"
"""Begins the names of a copy's scores in its trace: `<metric>.baseline` and `<metric>.candidate`."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A request as it came, before any stage touched it, and the limits of the rollout that it is copied for."""

    call: GenerateCall
    limits: ShadowLimits


def chosen(rollout_id: str, request_id: str, share: int) -> bool:
    """Whether a request is among those that are copied; `share` in 1/10000."""
    return point(f"shadow\0{rollout_id}", request_id) < share


def copy_of(call: GenerateCall, limits: ShadowLimits) -> Copy:
    """Keep a request as it is now."""
    return Copy(deepcopy(call), limits)


Serve = Callable[[RequestContext, GenerateCall], Awaitable[None]]
"""Runs a copy to the end of its answer. Raises HeadraceError."""

Similarity = Callable[[RequestContext, str, str, str], Awaitable[float]]
"""How much two texts mean the same, 0 to 1, by a deployment that embeds. Raises HeadraceError."""


class Allowance:
    """The money of a rollout's copies: an hour's worth at most, and growing back within an hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def left(self, rollout_id: str, per_hour: int) -> float:
        """What may be spent now, in nano-dollars."""
        now = self._clock()
        left, at = self._left.get(rollout_id, (float(per_hour), now))
        left = min(per_hour, left + per_hour * (now - at) / _HOUR_S)
        self._left[rollout_id] = (left, now)
        return left

    def spent(self, rollout_id: str, amount: int) -> None:
        """So much was spent."""
        left, at = self._left.get(rollout_id, (0.0, self._clock()))
        self._left[rollout_id] = (left - amount, at)

    def only(self, rollout_ids: set[str]) -> None:
        """Forget all others."""
        self._left = {id_: entry for id_, entry in self._left.items() if id_ in rollout_ids}


class Shadows:
    """Runs copies of requests once their own answers have ended. What does not fit now is left out, never queued.

    Args:
        serve: runs a copy.
        similarity: compares what two answers mean.
        referee: has a model compare two answers.
        journal: the event log.
        record: who else hears of requests that have ended.
        count: hears of each copy by model: `done`, `failed`, or why it was left out: `busy`, `spent`; and of each that
            is compared by a model: `judged`, `unjudged` (it gave no verdict), `judge_spent`.
        clock: seconds.
    """

    def __init__(
        self,
        serve: Serve,
        similarity: Similarity,
        referee: Referee,
        journal: Journal,
        record: Callable[[RequestContext, int, str], None],
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serve, self._similarity, self._referee, self._journal = serve, similarity, referee, journal
        self._record, self._count = record, count
        self._money = Allowance(clock)
        self._running: dict[str, set[asyncio.Task[None]]] = {}

    def begin(self, ctx: RequestContext) -> None:
        """A request that was copied has ended: run its copy, if there is room. Returns at once."""
        copy, ctx.copy = ctx.copy, None
        if copy is None or ctx.plan is None or ctx.answered is None or not ctx.answered.finish_reason:
            return
        limits, model = copy.limits, ctx.plan.name
        running = self._running.setdefault(ctx.rollout_id, set())
        if len(running) >= limits.concurrency:
            self._count(model, "busy")
        elif self._money.left(ctx.rollout_id, limits.nano_usd_per_hour) <= 0:
            self._count(model, "spent")
        else:
            task = asyncio.get_running_loop().create_task(self._run(ctx, copy))
            running.add(task)
            task.add_done_callback(running.discard)

    async def stop(self) -> None:
        """End what runs."""
        await end(*(task for running in self._running.values() for task in running))

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while tasks := [task for running in self._running.values() for task in running]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, original: RequestContext, copy: Copy) -> None:
        ctx = _context(original)
        status, error = 200, ""
        scores: dict[str, float] = {}
        unjudged = False
        # Before stages put passages into it.
        question = prompt_of(copy.call.messages, copy.call.prompt) if copy.limits.judge is not None else ""
        try:
            try:
                await self._serve(ctx, copy.call)
            except HeadraceError as failed:
                status, error = row(failed).http, error_code(failed)
            if ctx.rollout_id:  # else the rollout has ended meanwhile
                given = _said(original)
                scores = grade(given, None if error else _said(ctx))
                if copy.limits.similarity and not error and given.text:
                    scores["similarity"] = await self._alike(ctx, copy.limits.similarity, given.text)
                elif copy.limits.similarity and error:
                    scores["similarity"] = 0.0
                if self._judges(original, copy):
                    better = 0.0 if error else await self._compare(ctx, original, copy, question)
                    if better is None:
                        unjudged = True
                    else:
                        scores[JUDGE] = better
        except asyncio.CancelledError:
            status, error, scores, unjudged = 499, "client_closed_request", {}, False
            raise
        except Exception:
            _log.exception("a copy of a request could not be compared")
            status, error, scores = 500, "internal_error", {}
        finally:
            self._money.spent(original.rollout_id, ctx.cost_nano_usd)
            if ctx.rollout_id:
                event = finished(ctx, status, error)
                for metric, score in scores.items():
                    event.pairs.add(metric=metric, baseline=_baseline(metric, original, score), candidate=score)
                if unjudged:
                    event.pairs.add(metric=JUDGE, failed=True)
                self._journal.closed(event)
            _tell(ctx, original, scores)
            self._count(original.plan.name if original.plan else "", "failed" if error else "done")
            self._record(ctx, status, error)

    def _judges(self, original: RequestContext, copy: Copy) -> bool:
        """Whether a model is to compare the answers: it is among those that are sampled, and there is money left."""
        judge = copy.limits.judge
        if judge is None or not _said(original).text.strip():
            return False
        if not chosen(f"judge\0{original.rollout_id}", original.request_id, judge.share):
            return False
        left = self._money.left(_judges_money(original.rollout_id), judge.nano_usd_per_hour) > 0
        if not left:
            self._count(original.plan.name if original.plan else "", "judge_spent")
        return left

    async def _compare(self, ctx: RequestContext, original: RequestContext, copy: Copy, question: str) -> float | None:
        """How much the candidate's answer is preferred; None where nobody can tell."""
        answer = _said(ctx)
        if answer.fault == "empty":
            return 0.0
        if not answer.text.strip():
            return None  # it calls tools where the other one talks
        assert copy.limits.judge is not None
        found = await self._referee(ctx, copy.limits.judge, question, _said(original).text, answer.text)
        self._money.spent(_judges_money(original.rollout_id), found.nano_usd)
        self._count(original.plan.name if original.plan else "", "unjudged" if found.second is None else "judged")
        return found.second

    async def _alike(self, ctx: RequestContext, deployment: str, given: str) -> float:
        answer = ctx.answered.text() if ctx.answered is not None else ""
        return await self._similarity(ctx, deployment, given, answer) if answer else 0.0


def _judges_money(rollout_id: str) -> str:
    return f"{rollout_id}\0judge"


def _context(original: RequestContext) -> RequestContext:
    """A request of its own, under the one that it is a copy of: no key, no budget, no limits, and its own deadline."""
    ctx = open_request(
        Arrival(
            route="shadow",
            traceparent=original.traceparent(original.span_id),
            transport="shadow",
            traced=original.sampled,
        ),
        original.table,
    )
    ctx.identity, ctx.shadow = original.identity, True
    ctx.rollout_id, ctx.unit, ctx.arm_weight = original.rollout_id, original.unit, original.arm_weight
    return ctx


def _tell(ctx: RequestContext, original: RequestContext, scores: dict[str, float]) -> None:
    """Say in the trace what the copy is a copy of, and how its answer compares.

    It hangs under the request's own span, so both answers stand in one trace, as far as the tenant's `trace_content`
    keeps them.
    """
    ctx.attributes[SHADOW_OF] = original.request_id
    for metric, score in scores.items():
        ctx.attributes[f"{SCORE}.{metric}.baseline"] = _baseline(metric, original, score)
        ctx.attributes[f"{SCORE}.{metric}.candidate"] = score


def _said(ctx: RequestContext) -> Said:
    assert ctx.answered is not None
    seen = ctx.answered
    return Said(seen.text(), seen.fault(), ctx.usage.output_tokens, seen.asked.type, groundedness(ctx))


def _baseline(metric: str, original: RequestContext, candidate: float) -> float:
    """The score of the answer that was given: it is its own measure, but it may have missed the form, has its own
    passages, and what a judge prefers it less."""
    if metric == JUDGE:
        return 1 - candidate
    if metric == GROUNDEDNESS:
        return groundedness(original) or 0.0
    return float(metric != "json" or (original.answered is not None and original.answered.fault() == ""))
