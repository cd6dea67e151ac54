"""What people are told of rollouts, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace_kit.config.base import SecretRef
from headrace_kit.config.services import Notify
from headrace_kit.errors import NotReady
from headrace_kit.webhooks import Refused, signature
from headrace_rollout.domain.records import Record, Transition
from headrace_rollout.domain.verdicts import Action, Decision
from headrace_rollout.metrics import Metrics
from headrace_rollout.ports import RolloutStore

_log = logging.getLogger(__name__)
PAUSES_S = (1.0, 3.0, 9.0)
"""Pauses before the second try and those after it: four tries in all."""
_LOOK_S = 1.0
_ICONS = {
    "promoted": ":white_check_mark:",
    "rolled_back": ":rewind:",
    "aborted": ":octagonal_sign:",
    "hold": ":raised_hand:",
}

Post = Callable[[str, bytes, dict[str, str]], Awaitable[None]]
"""Sends a body once. Raises Refused, or OSError where another try may go better."""


def of_transition(transition: Transition) -> dict[str, Any]:
    """What is told of a transition."""
    return _news(transition.record, str(transition.record.state), transition.reason, transition.actor) | {
        "at": transition.at.isoformat()
    }


def of_hold(record: Record, decision: Decision) -> dict[str, Any]:
    """What is told of a step that holds."""
    assert decision.action is Action.HOLD
    return _news(record, "hold", decision.reason, "controller") | {"at": decision.at.isoformat()}


def _news(record: Record, event: str, reason: str, actor: str) -> dict[str, Any]:
    return {
        "type": "rollout",
        "event": event,
        "rollout": record.id,
        "model": record.model,
        "step": record.step + 1,
        "steps": len(record.spec.steps),
        "weight": record.weight,
        "reason": reason,
        "actor": actor,
    }


def shaped(news: Mapping[str, Any], shape: str) -> bytes:
    """The body of a message: the fields as they are, or text as Slack takes it."""
    if shape == "plain":
        return json.dumps(news).encode()
    icon = _ICONS.get(news["event"], ":arrow_forward:")
    reason = str(news["reason"]).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = (
        f"{icon} *{news['model']}* {str(news['event']).replace('_', ' ')} · step {news['step']} of {news['steps']}, "
        f"{news['weight'] / 100:g}% on the candidate\n{reason}\n"
        f"_rollout {news['rollout']}, by {news['actor']}_: `headrace rollouts explain {news['rollout']}`"
    )
    return json.dumps({"text": text}).encode()


class Teller:
    """Tells people what happened, in order, each at least once: what is told is kept with what happened.

    Args:
        store: has the news.
        targets: who is told, at this moment.
        post: sends a message.
        secret: the value of a secret by its name; None where there is none.
        metrics: counts.
        sleep: waits between tries, in seconds.
    """

    def __init__(
        self,
        store: RolloutStore,
        targets: Callable[[], Sequence[Notify]],
        post: Post,
        secret: Callable[[str], str | None],
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._targets, self._post, self._secret = store, targets, post, secret
        self._metrics, self._sleep = metrics, sleep
        self._task: asyncio.Task[None] | None = None

    def wanted(self) -> bool:
        """Whether anybody is told."""
        return bool(self._targets())

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop; what was not told is told later."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def tell(self) -> bool:
        """Tell the oldest news to everybody; whether there was some. Raises NotReady while the store is away."""
        async with self._store.news() as news:
            if news is None:
                return False
            for target in self._targets():
                self._metrics.told.labels("sent" if await self._deliver(target, news) else "failed").inc()
            return True

    async def _deliver(self, target: Notify, news: Mapping[str, Any]) -> bool:
        body = shaped(news, target.shape)
        for pause_s in (*PAUSES_S, None):
            try:
                await self._post(self._url(target), body, self._headers(target, body))
            except Refused as error:
                _log.warning("nobody was told of a rollout: %s", error, extra={"rollout_id": news["rollout"]})
                return False
            except OSError as error:
                if pause_s is None:
                    _log.warning("nobody was told of a rollout: %s", type(error).__name__)
                    return False
                await self._sleep(pause_s)
            else:
                return True
        return False

    def _url(self, target: Notify) -> str:
        if isinstance(target.url, SecretRef):
            return self._value(target.url.secret)
        return target.url

    def _headers(self, target: Notify, body: bytes) -> dict[str, str]:
        if target.secret is None:
            return {}
        return {"x-headrace-signature": signature(self._value(target.secret), body, int(time.time()))}

    def _value(self, name: str) -> str:
        value = self._secret(name)
        if not value:
            raise Refused(f"there is no secret {name!r}")
        return value.strip()

    async def _forever(self) -> None:
        while True:
            try:
                while await self.tell():
                    pass
            except NotReady:
                pass  # it is told when the store is back
            except Exception:
                _log.exception("what a rollout did could not be told")
            await asyncio.sleep(_LOOK_S)
