"""What a whole policy with the classifier costs: tier 1, the embedding and the ensemble in one process and thread.

CPU time beside the clock: on a busy machine only the former says what the check costs. Ratios are of one run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.guardrails.injection import Embedder
from headrace_guardrails.adapters.compile import PolicyCompiler
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.injection.judge import InjectionJudge
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Subject
from headrace_kit.config.guardrails import Policy

_CHECKS = [
    {"check": "unicode", "action": "mask"},
    {"check": "encoded"},
    {"check": "instructions"},
    {"check": "pii", "action": "mask"},
    {"check": "secrets", "action": "mask"},
    {"check": "injection", "embedding": "minilm", "timeout_ms": 60_000},
]
_SENTENCE = "The harbour of the old town opens at nine, and boats that come earlier wait outside of the wall. "
_TIMES = 15
BATCH = 16


class _InProcess:
    """Fulfils the models of the check `injection` without a service between."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def embed(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[bytes]:
        return [row.astype("<f4").tobytes() for row in self._embedder.embed(texts)]

    async def classify(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[Mapping[str, float]]:
        raise AssertionError("the policy that is measured names no classifier")


def measure(embedder: Embedder) -> list[tuple[str, float, float]]:
    """What was measured, and its median ms a text by the clock and of CPU."""
    models = _InProcess(embedder)
    compiler = PolicyCompiler({"injection": lambda check, to: InjectionJudge(check, to, models, Path())})
    policies = Policies(compiler)
    policies.apply("a", {"whole": Policy.model_validate({"input": _CHECKS, "retrieved": _CHECKS})})
    guard = Guard(policies, Metrics(CollectorRegistry()), 1 << 20)
    long, short = _SENTENCE * 10, _SENTENCE

    def check(direction: str, text: str) -> Callable[[], Awaitable[object]]:
        return lambda: guard.check(Subject("whole", direction), text)

    def classify(text: str, count: int) -> Callable[[], Awaitable[object]]:
        return lambda: models.embed("", [text] * count, Subject("whole", "input"))

    async def all_of() -> list[tuple[str, float, float]]:
        return [
            ("whole policy, input, 200 tokens", *await _p50(check("input", long), 1)),
            ("whole policy, passage, 200 tokens", *await _p50(check("retrieved", long), 1)),
            ("classifier, 200 tokens, alone", *await _p50(classify(long, 1), 1)),
            (f"classifier, 200 tokens, in a batch of {BATCH}", *await _p50(classify(long, BATCH), BATCH)),
            ("classifier, 20 tokens, alone", *await _p50(classify(short, 1), 1)),
            (f"classifier, 20 tokens, in a batch of {BATCH}", *await _p50(classify(short, BATCH), BATCH)),
        ]

    return asyncio.run(all_of())


def ratios(measured: Sequence[tuple[str, float, float]]) -> list[tuple[str, float]]:
    """How many times less CPU a text costs in a batch than alone, by its length."""
    cpu = {name: used for name, _, used in measured}
    return [
        (size, cpu[f"classifier, {size}, alone"] / cpu[f"classifier, {size}, in a batch of {BATCH}"])
        for size in ("20 tokens", "200 tokens")
    ]


async def _p50(work: Callable[[], Awaitable[object]], texts: int) -> tuple[float, float]:
    clock, cpu = [], []
    for _ in range(_TIMES):
        start, worked = perf_counter(), process_time()
        await work()
        clock.append(1000 * (perf_counter() - start) / texts)
        cpu.append(1000 * (process_time() - worked) / texts)
    return float(np.median(clock)), float(np.median(cpu))
