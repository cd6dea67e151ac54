"""When a failed call may be made again, and how long to wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from headrace.errors import APIError, ConnectionFailed, NotReady, RateLimited, ServerFailed

T = TypeVar("T")


class Refused(ConnectionFailed):
    """The connection could not be made at all, so nothing was done: any call may be repeated."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to try, and the waits between.

    What is repeated: calls that never reached the platform; calls that it refused with 429 or 503 and a
    `retry-after`; and of calls that change nothing also broken connections and 5xx. Never a stream that has begun.

    Attributes:
        attempts: tries in all, from 1.
        first_s: longest wait before the second try; each later one doubles. The real wait is random below it.
        most_s: longest wait ever. An error that advises a longer one is raised at once.
    """

    attempts: int = 3
    first_s: float = 0.2
    most_s: float = 5.0

    def wait_s(self, error: Exception, attempt: int, *, idempotent: bool) -> float | None:
        """Seconds to wait after try number `attempt` (from 1) failed; None: do not try again."""
        if attempt >= self.attempts:
            return None
        if isinstance(error, RateLimited | NotReady) and error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= self.most_s else None
        again = isinstance(error, Refused) or (idempotent and isinstance(error, ConnectionFailed | ServerFailed))
        if not again:
            return None
        return random.uniform(0, min(self.most_s, self.first_s * 2 ** (attempt - 1)))  # noqa: S311 (jitter)

    async def run(self, call: Callable[[], Awaitable[T]], *, idempotent: bool) -> T:
        """Make the call, again where that is safe, and return its result or raise its last error."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call()
            except (APIError, ConnectionFailed) as error:
                wait_s = self.wait_s(error, attempt, idempotent=idempotent)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)


NEVER = Retry(attempts=1)
"""Try once."""
