"""All tries of one stage, until one of them answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from headrace_gateway.budgets.estimate import bound
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.ports import AttemptListener, Chooser, Engine, Envelope, Journal
from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.resilience.continuation import Said
from headrace_gateway.resilience.health import Health
from headrace_gateway.resilience.live import Live
from headrace_gateway.resilience.retry import Tries, Try, Work, may_be_mended
from headrace_gateway.routing.plan import Target
from headrace_kit.errors import DeadlineExceeded, HeadraceError
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

__all__ = ["Attempts", "Work"]

T = TypeVar("T")


@dataclass(slots=True)
class Run:
    """One stage while it runs. `whole`: the engine may answer in one piece, where nothing is watched between."""

    work: Work
    tries: Tries
    request: GenerateRequest
    whole: bool
    ended: list[Attempt] = field(default_factory=list)
    lost: set[asyncio.Task[Live]] = field(default_factory=set)

    def __post_init__(self) -> None:
        policy = self.work.plan.resilience
        watched = policy.hedge is not None or policy.timeouts.first_token is not None or policy.failover == "continue"
        self.whole = self.whole and not watched


class Attempts:
    """Runs stages against engines.

    Args:
        engine: where deployments are.
        journal: the event log.
        metrics: counts.
        chooser: picks the deployment of each try.
        health: how deployments do: hears of each attempt, and allows further ones.
        listeners: hear of each attempt too.
        sleep: waits between tries, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        metrics: Metrics,
        chooser: Chooser,
        health: Health,
        listeners: Sequence[AttemptListener] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.engine, self._journal, self._metrics, self._sleep = engine, journal, metrics, sleep
        self._chooser, self._health, self._listeners = chooser, health, (health, *listeners)

    async def stream(self, work: Work, request: GenerateRequest, *, whole: bool) -> AsyncGenerator[GenerateChunk, None]:
        """The answer of the first try that begins one.

        After its first chunk nothing is tried again; where the engine dies then and the model says so, another one goes
        on from the text so far.

        Raises:
            HeadraceError: of the last try, or of the one that broke off.
        """
        run = Run(work, Tries(self._chooser, self._health, work, request), request, whole)
        said = Said(request) if work.plan.resilience.failover == "continue" else None
        try:
            live = await self._begin(run, run.tries.first())
            work.ctx.outcome.deployment = live.attempt.target.name
            while True:
                try:
                    chunk = live.first
                    while chunk is not None:
                        if said is None or (chunk := said.take(chunk)) is not None:
                            yield chunk
                        if said is not None and said.stopped:
                            live.attempt.finish_reason = "stop"
                            break
                        chunk = await live.next()
                except BaseException as error:
                    await live.aclose()
                    self._end(run, live.attempt, error)
                    if said is None or not may_be_mended(error):
                        raise
                    if live.attempt.finish_reason:
                        return  # all of the answer was there
                    behind = await self._go_on(run, said, live)
                    if behind is None:
                        raise
                    if isinstance(behind, GenerateChunk):
                        yield behind
                        return
                    live = behind
                    work.ctx.outcome.deployment = live.attempt.target.name
                else:
                    await live.aclose()
                    self._end(run, live.attempt)
                    return
        finally:
            self._settle(run)

    async def unary(self, work: Work, call: Callable[[Target, Envelope], Awaitable[tuple[T, Usage]]]) -> T:
        """The result of the first try that gives one. Raises HeadraceError of the last try."""

        async def once(attempt: Attempt, sent: Envelope) -> T:
            result, usage = await call(attempt.target, sent)
            attempt.used(usage)
            work.ctx.outcome.deployment = attempt.target.name
            return result

        return await self._until_one(work, once)

    async def _until_one(self, work: Work, call: Callable[[Attempt, Envelope], Awaitable[T]]) -> T:
        tries = Tries(self._chooser, self._health, work, None)
        this: Try | None = tries.first()
        while this is not None:
            attempt = await self._open(work, this, None)
            try:
                result = await call(attempt, attempt.envelope)
            except BaseException as error:
                self._close(attempt, error)
                this = tries.after(this, error)
                if this is None:
                    raise
            else:
                self._close(attempt)
                return result
        raise AssertionError("there is at least one try")

    async def _begin(self, run: Run, this: Try) -> Live:
        """The first try from `this` on of which a chunk is there. Raises HeadraceError of the last one."""
        following: Try | None = this
        while following is not None:
            this = following
            after_s = self._health.hedge_after_s(run.work.plan, this.target)
            try:
                if after_s is None:
                    return await self._start(run, this, run.request)
                return await self._race(run, this, after_s)
            except BaseException as error:
                following = run.tries.after(this, error)
                if following is None:
                    raise
        raise AssertionError("there is at least one try")

    async def _race(self, run: Run, this: Try, after_s: float) -> Live:
        """The first of two attempts that says something: the second one is made when the first is slow.

        Raises:
            HeadraceError: of the first attempt, where none said anything.
        """
        plan = run.work.plan
        first = asyncio.create_task(self._start(run, this, run.request))
        racers = [first]
        winner: asyncio.Task[Live] | None = None
        try:
            await asyncio.wait(racers, timeout=after_s)
            if not first.done() and (other := run.tries.beside(this)) is not None:
                # The engine of the first one may not have read its request yet.
                racers.append(asyncio.create_task(self._start(run, other, _copy(run.request))))
            pending = set(racers)
            while pending and winner is None:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                winner = next((racer for racer in racers if racer.done() and _went_well(racer)), None)
            return (winner or first).result()
        finally:
            losers = [racer for racer in racers if racer is not winner]
            if winner is not None:
                run.lost.update(losers)
            for loser in losers:
                loser.cancel()
            await asyncio.gather(*losers, return_exceptions=True)
            for loser in losers:
                if not loser.cancelled() and _went_well(loser):
                    await self._lose(run, loser.result())
            if len(racers) > 1:
                self._health.metrics.hedge(plan.name, "won" if winner is racers[1] else "lost")

    async def _lose(self, run: Run, live: Live) -> None:
        """Both were there at the same time."""
        await live.aclose()
        self._end(run, live.attempt, lost=True)

    async def _start(self, run: Run, this: Try, request: GenerateRequest, continued: int = 0) -> Live:
        """An attempt whose first chunk is there. Raises HeadraceError: it failed before."""
        attempt = await self._open(run.work, this, request, continued)
        chunks = self.engine.generate(_of(request, attempt.target), attempt.envelope, whole=run.whole)
        live = Live(this, attempt, chunks, run.work.plan.resilience.timeouts)
        try:
            live.first = await live.next()
        except BaseException as error:
            await live.aclose()
            if asyncio.current_task() in run.lost:
                self._end(run, attempt, lost=True)
            else:
                self._close(attempt, error)
            raise
        return live

    async def _go_on(self, run: Run, said: Said, dead: Live) -> Live | GenerateChunk | None:
        """Another attempt that goes on behind one that died, or the end of an answer that has all its tokens.

        Returns:
            None where no deployment can go on.
        """
        live: Live | GenerateChunk | None = None
        said.broke_off(dead.attempt.usage.output_tokens)
        this = None if said.whole else run.tries.behind(dead.this, lambda target: target.continues or not said.prefix)
        while this is not None and live is None:
            request = said.rest(dead.attempt.target.max_output_tokens)
            if request is None:
                live = GenerateChunk(finish_reason="length")
                break
            try:
                live = await self._start(run, this, request, said.tokens)
            except HeadraceError as error:
                if not may_be_mended(error):
                    break
                this = run.tries.behind(this, lambda target: target.continues or not said.prefix)
        self._health.metrics.failover(run.work.plan.name, "failed" if live is None else "continued")
        return live

    async def _open(self, work: Work, this: Try, request: GenerateRequest | None, continued: int = 0) -> Attempt:
        if this.wait_s:
            await self._sleep(this.wait_s)
        if work.ctx.expired():
            raise DeadlineExceeded("the deadline passed before the answer was there")
        reserved = 0
        if request is not None:
            asked = request.sampling.max_tokens if request.sampling.HasField("max_tokens") else 0
            reserved = (asked or this.target.max_output_tokens) * max(1, request.sampling.n)
        most, purse = 0, work.ctx.purse
        if purse is not None and purse.limited:
            begun = 0 if request is None else len(request.continue_from.encode())
            most = bound(this.target, purse.inputs + begun, reserved, whole=request is None)
            await purse.cover(most)
        attempt = Attempt(
            work.ctx, this.target, work.stage, this.number, reserved, this.why, work.review, this.reason, continued
        )
        attempt.bound = most
        for listener in self._listeners:
            listener.began(attempt)
        try:
            await attempt.open(self._journal)
        except BaseException as error:
            self._close(attempt, error)
            raise
        return attempt

    def _end(self, run: Run, attempt: Attempt, error: BaseException | None = None, *, lost: bool = False) -> None:
        """An attempt of a run has ended; it is closed with the run, when its prompt's tokens are known."""
        attempt.end(error, lost=lost)
        run.ended.append(attempt)
        for listener in self._listeners:
            listener.ended(attempt)

    def _settle(self, run: Run) -> None:
        """Close what has ended. All read the same prompt: where one was cut off, the last one's count of it stands."""
        prompt = 0
        if run.ended:
            last = run.ended[-1]
            prompt = max(0, last.usage.input_tokens - last.continued)
        for attempt in run.ended:
            attempt.close(self._journal, self._metrics, prompt)

    def _close(self, attempt: Attempt, error: BaseException | None = None) -> None:
        attempt.end(error)
        attempt.close(self._journal, self._metrics)
        for listener in self._listeners:
            listener.ended(attempt)


def _went_well(racer: asyncio.Task[Live]) -> bool:
    return not racer.cancelled() and racer.exception() is None


def _copy(request: GenerateRequest) -> GenerateRequest:
    copy = GenerateRequest()
    copy.CopyFrom(request)
    return copy


def _of(request: GenerateRequest, target: Target) -> GenerateRequest:
    request.deployment, request.adapter = target.name, target.adapter
    return request
