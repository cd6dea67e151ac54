"""`python -m benchmarks.inference [PART ...] [--json] [--rounds N] [--prompts FILE]
[--passages FILE]`, or `make bench-inference`.

Parts: streams, speculation, prefix, embeddings, memory, which all run by default, and vllm, which runs only when it is
named: `make bench-vllm`. Each starts Triton, inference and the peer that it compares with on free ports, measures both
in turn, prints one table and stops them. Ratios are of CPU time wherever they can be, because other work on the machine
disturbs those least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path

from rich.console import Console

from benchmarks.inference import embeddings, memory, prefix, speculation, streams, vllm
from benchmarks.inference.figures import show
from benchmarks.inference.options import Options
from benchmarks.inference.prompts import Prompts

PARTS = {
    "streams": (streams.measure, "streams, and llama.cpp's own server", "llama.cpp"),
    "speculation": (speculation.measure, "n-gram speculation, and the same deployment without", "without"),
    "prefix": (prefix.measure, "a prefix of 1,000 tokens, sent twice", ""),
    "embeddings": (embeddings.measure, "embeddings, and bare onnxruntime", "onnxruntime"),
    "memory": (memory.measure, "memory over many requests", "start"),
    "vllm": (vllm.measure, "streams, and vLLM on the CPU", "vLLM"),
}
_BY_NAME_ONLY = {"vllm"}
"""Parts that need more than is installed for all the others."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.inference", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, a line for each part")
    parser.add_argument("--prompts", type=Path, help="file with one user message a line, instead of made ones")
    parser.add_argument("--passages", type=Path, help="file with one passage to quote a line, instead of the docs'")
    parser.add_argument("--model", default="smollm2-135m", help="catalogue entry of the default config")
    parser.add_argument("--slots", type=int, default=8, help="requests that the engine works on at one time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the engines")
    parser.add_argument("--streams", default="1,8,32", help="numbers of concurrent streams")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions, of which medians are taken")
    parser.add_argument("--tokens", type=int, default=64, help="most output tokens of an answer")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of the memory part")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options = Options(
        prompts=Prompts(given.prompts, given.passages),
        model=given.model,
        slots=given.slots,
        threads=given.threads,
        streams=tuple(int(number) for number in given.streams.split(",")),
        rounds=given.rounds,
        tokens=given.tokens,
        requests=given.requests,
    )
    for name in given.parts or [name for name in PARTS if name not in _BY_NAME_ONLY]:
        measure, title, peer = PARTS[name]
        figures = asyncio.run(measure(options))
        if given.json:
            print(json.dumps({"part": name, "figures": [figure.document() for figure in figures]}), flush=True)
        else:
            machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            show(f"{title} ({machine})", peer, figures, Console(width=max(150, Console().width)))


if __name__ == "__main__":
    main()
