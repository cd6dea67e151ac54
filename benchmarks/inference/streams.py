"""Streams: what we cost over llama.cpp's own server on the same settings, and what batching gains."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.load import Pairs, Round, compare, run
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Ask, Headrace


async def measure(options: Options) -> list[Figure]:
    """Tokens a CPU second and time to the first token at 1, 8 and 32 streams; tokens a second at 8 over 1."""
    deployment = options.language_model()
    with (
        serving.inference({"small": deployment}) as platform,
        serving.bare_engine(platform, "small") as bare,
    ):
        ours = Headrace(platform, "small")
        await ours.ready()
        levels: dict[int, Pairs] = {}
        try:
            for side in (ours, bare):
                # Every slot has then seen the template's beginning.
                await run(side, [Ask(prompt, 8) for prompt in options.prompts.take(2 * options.slots)], options.slots)
            for streams in options.streams:
                asks = [
                    [Ask(prompt, options.tokens) for prompt in options.prompts.take(max(streams, 4))]
                    for _ in range(options.rounds)
                ]
                levels[streams] = await compare(ours, bare, asks, streams)
        finally:
            await ours.close()
            await bare.close()
    figures = [figure for streams, pairs in levels.items() for figure in _overhead(streams, pairs)]
    if 1 in levels and 8 in levels:
        figures += _batching(levels[1], levels[8])
    return figures


def _overhead(streams: int, pairs: Pairs) -> list[Figure]:
    name = f"{streams} stream{'s' if streams > 1 else ''}"
    same = sum(
        ours.text == theirs.text
        for one, other in zip(pairs.ours, pairs.theirs, strict=True)
        for ours, theirs in zip(one.answers, other.answers, strict=True)
    )
    messages = sum(answer.messages for one in pairs.ours for answer in one.answers)
    tokens = sum(one.tokens for one in pairs.ours)
    return [
        Figure(
            f"{name}: output tokens a CPU second",
            _median(pairs.ours, "tokens_per_cpu_s"),
            _median(pairs.theirs, "tokens_per_cpu_s"),
            pairs.cpu_ratio,
            target=">= 0.95",
            note=f"{same} of {sum(len(one.answers) for one in pairs.ours)} answers alike",
        ),
        Figure(
            f"{name}: CPU a token outside the engine's thread",
            _median(pairs.ours, "other_ms_per_token"),
            _median(pairs.theirs, "other_ms_per_token"),
            pairs.level_cpu_ratio,
            unit="ms",
            note=f"ratio: the one above with equal engines; {tokens / max(1, messages):.1f} tokens a message",
        ),
        Figure(
            f"{name}: time to the first token, p50",
            _median(pairs.ours, "first_ms"),
            _median(pairs.theirs, "first_ms"),
            unit="ms",
        ),
        Figure(f"{name}: added to it, p50 of pairs", pairs.added_first_ms, unit="ms", target="<= 3"),
    ]


def _batching(one: Pairs, eight: Pairs) -> list[Figure]:
    ours, theirs = (
        statistics.median(found.tokens_per_s for found in many) / statistics.median(found.tokens_per_s for found in few)
        for many, few in ((eight.ours, one.ours), (eight.theirs, one.theirs))
    )
    busy = statistics.median(found.cpu.busiest_s / found.wall_s for found in eight.ours)
    return [
        Figure(
            "8 streams over 1: tokens a second",
            ours,
            theirs,
            ratio=ours,
            target=">= 3",
            note=f"the engine's thread is busy {busy:.0%} of the time at 8",
        ),
        Figure(
            "8 streams over 1: engine's CPU a token",
            _median(eight.ours, "busiest_ms_per_token") / _median(one.ours, "busiest_ms_per_token"),
            _median(eight.theirs, "busiest_ms_per_token") / _median(one.theirs, "busiest_ms_per_token"),
            note="1 means that computing tokens together saves nothing: the CPU is the limit",
        ),
    ]


def _median(rounds: Sequence[Round], name: str) -> float:
    return float(statistics.median(getattr(found, name) for found in rounds))
