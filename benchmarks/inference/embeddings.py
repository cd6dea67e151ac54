"""Embeddings: texts a CPU second through inference and by the bare runtime at the batch size that suits it best."""

from __future__ import annotations

import asyncio
import json
import random
import statistics

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Headrace
from benchmarks.inference.prompts import text
from headrace_protos.inference.v1 import messages_pb2 as pb

TEXTS = 192
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_A_CALL = 32
_AT_ONCE = 3


def texts() -> list[str]:
    """Texts of 8 to 150 words, as chunks of documents have them."""
    draw = random.Random(7)
    return [text(20_000 + number, draw.randrange(8, 150)) for number in range(TEXTS)]


async def measure(options: Options) -> list[Figure]:
    """Both sides in turn."""
    deployment = {
        "engine": "triton-python",
        "task": "embed",
        "model": "minilm",
        "max_input_tokens": 256,
        "dimensions": 384,
        "threads": options.threads,
    }
    said = texts()
    ours_s: list[float] = []
    theirs_s: list[float] = []
    with serving.inference({"minilm": deployment}) as platform:
        ours = Headrace(platform, "minilm", caller="retrieval")
        try:
            await ours.ready()
            with serving.bare_runtime(platform, "minilm", said) as bare:
                await _embed(ours, said)
                by_size = {size: bare.cpu_s(size) for size in BATCH_SIZES}
                best = min(by_size, key=lambda size: by_size[size])
                for _ in range(options.rounds):
                    before = ours.trees.cpu()
                    await _embed(ours, said)
                    ours_s.append((ours.trees.cpu() - before).total_s)
                    theirs_s.append(bare.cpu_s(best))
        finally:
            await ours.close()
    ratio = statistics.median(theirs / mine for mine, theirs in zip(ours_s, theirs_s, strict=True))
    rates = json.dumps({size: round(TEXTS / spent, 1) for size, spent in by_size.items()})
    return [
        Figure(
            "texts a CPU second",
            TEXTS / statistics.median(ours_s),
            TEXTS / statistics.median(theirs_s),
            ratio,
            target=">= 0.9",
            note=f"the runtime by batch size: {rates}",
        )
    ]


async def _embed(side: Headrace, said: list[str]) -> None:
    calls = [said[start : start + _A_CALL] for start in range(0, len(said), _A_CALL)]

    async def work() -> None:
        while calls:
            await side.call("Embed", pb.EmbedRequest(deployment="minilm", texts=calls.pop()))

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
    await asyncio.sleep(0.05)
