"""Tells people's systems what happened: a POST for each, in order, until somebody took it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from headrace_kit.config.base import SecretRef
from headrace_kit.config.services import Notify
from headrace_kit.rounds import Rounds
from headrace_kit.webhooks import Refused, post, signature

_log = logging.getLogger(__name__)
PAUSES_S = (1.0, 3.0, 9.0)
"""Pauses before the second try and those after it: four tries in all."""
_LOOK_S = 1.0

Post = Callable[[str, bytes, dict[str, str]], Awaitable[None]]
"""Sends a body once. Raises Refused, or OSError where another try may go better."""


def poster(trusted: Callable[[], Sequence[str]], setting: str) -> Post:
    """Sends over HTTP: nowhere inside, unless the host is trusted; `setting` is where the config says which are."""

    async def send(url: str, body: bytes, headers: dict[str, str]) -> None:
        host = urlsplit(url).hostname or ""
        await asyncio.to_thread(post, url, body, headers, host in trusted(), setting)

    return send


def slack_text(text: str) -> str:
    """Text in which Slack reads no markup of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Teller:
    """Tells people what happened, in order, each at least once: what is told is kept with what happened.

    Args:
        news: opens the oldest news of those that nobody else is telling, None where there is none; they are gone once
            that is closed without an error. Raises NotReady while their store is away.
        shaped: the body of a message, in the shape that a target wants.
        targets: who is told, at this moment.
        post: sends a message.
        secret: the value of a secret by its name; None where there is none.
        count: hears how each message ended: `sent` or `failed`.
        sleep: waits between tries, in seconds.
    """

    def __init__(
        self,
        news: Callable[[], AbstractAsyncContextManager[Mapping[str, Any] | None]],
        shaped: Callable[[Mapping[str, Any], str], bytes],
        targets: Callable[[], Sequence[Notify]],
        post: Post,
        secret: Callable[[str], str | None],
        count: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._news, self._shaped, self._targets = news, shaped, targets
        self._post, self._secret, self._count, self._sleep = post, secret, count, sleep

    def wanted(self) -> bool:
        """Whether anybody is told."""
        return bool(self._targets())

    async def tell_all(self) -> None:
        """Tell everything that there is. Raises NotReady while the store is away."""
        while await self.tell():
            pass

    async def tell(self) -> bool:
        """Tell the oldest news to everybody; whether there was some. Raises NotReady while the store is away."""
        async with self._news() as news:
            if news is None:
                return False
            for target in self._targets():
                self._count("sent" if await self._deliver(target, news) else "failed")
            return True

    async def _deliver(self, target: Notify, news: Mapping[str, Any]) -> bool:
        body = self._shaped(news, target.shape)
        for pause_s in (*PAUSES_S, None):
            try:
                await self._post(self._url(target), body, self._headers(target, body))
            except Refused as error:
                _log.warning("nobody was told of a %s: %s", news["type"], error)
                return False
            except OSError as error:
                if pause_s is None:
                    _log.warning("nobody was told of a %s: %s", news["type"], type(error).__name__)
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


def telling(teller: Teller) -> Rounds:
    """The task that tells; what it did not tell when it is stopped is told later."""
    return Rounds(teller.tell_all, _LOOK_S, "what happened could not be told")
