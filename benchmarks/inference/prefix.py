"""A shared prefix: the time to the first token of the second request that starts with the same text."""

from __future__ import annotations

import statistics

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Ask, Headrace
from benchmarks.inference.prompts import text

PREFIX_WORDS = 815
"""About 1,000 tokens."""


async def measure(options: Options) -> list[Figure]:
    """First and second request with a prefix of about 1,000 tokens, as often as there are rounds."""
    firsts, seconds, cached = [], [], []
    with serving.inference({"small": options.language_model()}) as platform:
        ours = Headrace(platform, "small")
        try:
            await ours.ready()
            await ours.ask(Ask("Hello", 4))
            for number in range(options.rounds):
                prefix = f"Document {number}: {text(10_000 + number, PREFIX_WORDS)}\n\n"
                firsts.append(await ours.ask(Ask(prefix + "What is it about?", 4)))
                seconds.append(await ours.ask(Ask(prefix + "Who built the bridge?", 4)))
                cached.append(seconds[-1].cached_tokens)
        finally:
            await ours.close()
    first, second = (statistics.median(one.first_s for one in found) * 1000 for found in (firsts, seconds))
    ratio = statistics.median(two.first_s / one.first_s for one, two in zip(firsts, seconds, strict=True))
    return [
        Figure("time to the first token, first request, p50", first, unit="ms"),
        Figure(
            "the same, second request",
            second,
            ratio=ratio,
            unit="ms",
            target="<= 0.25",
            note=f"{statistics.median(cached):.0f} tokens came from the cache",
        ),
    ]
