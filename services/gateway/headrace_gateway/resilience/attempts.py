"""All tries of one stage, until one of them answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from headrace_gateway.budgets.estimate import bound
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.ports import AttemptListener, Chooser, Engine, Envelope, Journal
from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.resilience.health import Health
from headrace_gateway.resilience.retry import Tries, Try, Work
from headrace_gateway.routing.plan import Target
from headrace_kit.errors import DeadlineExceeded, Upstream
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

__all__ = ["Attempts", "Work"]

T = TypeVar("T")


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
        """The answer of the first try that begins one. After its first chunk nothing is tried again.

        Raises:
            HeadraceError: of the last try, or of the one that broke off.
        """
        tries = Tries(self._chooser, self._health, work, request)
        this: Try | None = tries.first()
        while this is not None:
            attempt = await self._open(work, this, request)
            began = False
            try:
                async with aclosing(
                    self.engine.generate(_of(request, attempt.target), attempt.envelope, whole=whole)
                ) as chunks:
                    async for chunk in chunks:
                        attempt.saw(chunk)
                        if not began:
                            began = True
                            work.ctx.outcome.deployment = attempt.target.name
                        yield chunk
                if not attempt.finish_reason:
                    raise Upstream("the engine ended without finishing its answer", code="engine_failed")
            except BaseException as error:
                self._close(attempt, error)
                this = None if began else tries.after(this, error)
                if this is None:
                    raise
            else:
                self._close(attempt)
                return

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

    async def _open(self, work: Work, this: Try, request: GenerateRequest | None) -> Attempt:
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
            most = bound(this.target, purse.inputs, reserved, whole=request is None)
            await purse.cover(most)
        attempt = Attempt(work.ctx, this.target, work.stage, this.number, reserved, this.why, work.review)
        attempt.bound = most
        for listener in self._listeners:
            listener.began(attempt)
        try:
            await attempt.open(self._journal)
        except BaseException as error:
            self._close(attempt, error)
            raise
        return attempt

    def _close(self, attempt: Attempt, error: BaseException | None = None) -> None:
        attempt.end(error)
        attempt.close(self._journal, self._metrics)
        for listener in self._listeners:
            listener.ended(attempt)


def _of(request: GenerateRequest, target: Target) -> GenerateRequest:
    request.deployment, request.adapter = target.name, target.adapter
    return request
