"""A second release of guardrails in a process of its own, with a fault: python guardrails_candidate.py <file>.

The file says at each check what is wrong with it: `errors` (half of them fail), `slow`, or nothing.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

from headrace_guardrails.domain.guard import Guard
from headrace_kit.hosting import process

FAULT = Path(sys.argv[1])
real = Guard.check


async def check(self: Guard, *args: Any, **options: Any) -> Any:
    """The real one, or what is wrong with it."""
    fault = FAULT.read_text()
    if fault == "errors" and random.random() < 0.5:
        raise RuntimeError("a bug of this release")
    if fault == "slow":
        await asyncio.sleep(0.3)
    return await real(self, *args, **options)


if __name__ == "__main__":
    Guard.check = check
    process.run("guardrails")
