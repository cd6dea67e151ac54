"""The end of tasks that run beside everything else."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_S = 2.0


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, again every 2 s, and return when they have ended; None is left out, and what they raise as well.

    One cancellation may be lost: `asyncio.wait_for` of Python 3.11 swallows one that comes in the moment in which what
    it waits for is done, and the clients of Valkey and PostgreSQL wait by it at each command. A loop that lost it goes
    on, and whoever waits for its end would wait forever.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
