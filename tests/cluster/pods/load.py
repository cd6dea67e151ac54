"""Calls a gateway at a steady rate from inside the cluster and prints what became of the calls, as JSON.

Runs in a pod: `python - URL KEY RATE SECONDS MODEL < load.py`. A call is made at its time whether or not earlier ones
have been answered. It ends early when the file /tmp/stop appears.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

STOP = Path("/tmp/stop")


async def call(client, url, key, model, number, outcomes, examples, times):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Say the number {number}."}],
        "max_tokens": 8,
        "headrace": {"cache": "bypass"},
    }
    begun = time.monotonic()
    try:
        answer = await client.post(
            f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=60
        )
        outcome = str(answer.status_code)
        if answer.status_code != 200:
            examples.append(f"{time.strftime('%H:%M:%S')} {answer.status_code} {answer.text[:300]}")
        elif not answer.json()["choices"]:
            outcome = "empty"
    except (httpx.HTTPError, ValueError, KeyError) as error:
        outcome = type(error).__name__
        examples.append(f"{time.strftime('%H:%M:%S')} {outcome}: {error}")
    outcomes[outcome] += 1
    times.append(time.monotonic() - begun)


async def main(url, key, rate, seconds, model):
    STOP.unlink(missing_ok=True)
    outcomes, examples, times, tasks = Counter(), [], [], []
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with httpx.AsyncClient(limits=limits) as client:
        begun = time.monotonic()
        number = 0
        while time.monotonic() - begun < float(seconds) and not STOP.exists():
            tasks.append(asyncio.create_task(call(client, url, key, model, number, outcomes, examples, times)))
            number += 1
            await asyncio.sleep(max(0, begun + number / float(rate) - time.monotonic()))
        took = time.monotonic() - begun
        await asyncio.gather(*tasks)
    times.sort()
    print(
        json.dumps(
            {
                "calls": number,
                "seconds": round(took, 1),
                "outcomes": dict(outcomes),
                "failed": number - outcomes["200"],
                "p50_ms": round(1000 * times[len(times) // 2]) if times else None,
                "max_ms": round(1000 * times[-1]) if times else None,
                "examples": examples[:8],
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
