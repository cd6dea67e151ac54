"""Tells a company's own system that a model was not sure, off the request's path."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace_gateway.context import RequestContext
from headrace_gateway.outcome import LowConfidenceOutcome
from headrace_kit.config.cascades import Webhook
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_kit.webhooks import Refused, signature

_log = logging.getLogger(__name__)
PAUSES_S = (1.0, 5.0, 25.0)
"""Pauses before the second try and those after it: four tries in all."""
_WAITING = 1000
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way."""

    hook: Webhook
    body: bytes


Post = Callable[[Webhook, bytes, dict[str, str]], Awaitable[None]]
"""Sends a body once. Raises Refused, or OSError where another try may go better."""


class Webhooks:
    """Sends messages in the background, each signed and tried a few times. What does not fit is dropped and counted.

    Args:
        post: sends one.
        secret: the value of a secret by its name; None where there is none.
        count: hears how each ended: `sent`, `failed`, or `dropped` before it was tried.
        sleep: waits between tries, in seconds.
        waiting: messages that may wait.
    """

    def __init__(
        self,
        post: Post,
        secret: Callable[[str], str | None],
        count: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        waiting: int = _WAITING,
    ) -> None:
        self._post, self._secret, self._count, self._sleep = post, secret, count, sleep
        self._queue: asyncio.Queue[Message] = asyncio.Queue(waiting)
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]

    async def stop(self) -> None:
        """Give up what waits, which counts as dropped."""
        await end(*self._workers)
        while not self._queue.empty():
            self._queue.get_nowait()
            self._count("dropped")

    def notify(self, ctx: RequestContext, hook: Webhook, low: LowConfidenceOutcome) -> None:
        """Tell that a request's model was not sure. Returns at once; no text of the request is in the message."""
        told = {
            "type": "low_confidence",
            "request_id": ctx.request_id,
            "trace_id": ctx.trace_id,
            "conversation_id": ctx.conversation,
            "tenant": ctx.identity.tenant,
            "model": ctx.outcome.model,
            "deployment": ctx.outcome.deployment,
            "signal": low.signal,
            "value": low.value,
            "then": low.then,
        }
        try:
            self._queue.put_nowait(Message(hook, json.dumps(told).encode()))
        except asyncio.QueueFull:
            self._count("dropped")

    async def _work(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                await self._deliver(message)
            except asyncio.CancelledError:
                self._count("dropped")
                raise

    async def _deliver(self, message: Message) -> None:
        for pause_s in (*PAUSES_S, None):
            try:
                await self._post(message.hook, message.body, self._signed(message))
            except (Refused, HeadraceError) as error:
                _log.warning("a webhook was not delivered: %s", error)
                break
            except OSError as error:
                if pause_s is None:
                    _log.warning("a webhook was not delivered: %s", type(error).__name__)
                    break
                await self._sleep(pause_s)
            except Exception:
                _log.exception("a webhook was not delivered")
                break
            else:
                self._count("sent")
                return
        self._count("failed")

    def _signed(self, message: Message) -> dict[str, str]:
        secret = self._secret(message.hook.secret)
        if secret is None:
            raise Refused(f"there is no secret {message.hook.secret!r} to sign it with")
        return {"x-headrace-signature": signature(secret, message.body, int(time.time()))}
