"""What judging costs: CPU time of an outcome, through the calls that the controller makes."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rollouts.figures import Row
from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_rollout.analysis import Analysis, Outcome

PER_SECOND, SECONDS = 1_000, 30


def cost() -> Row:
    """1,000 outcomes a second with all live metrics and segments, verdicts each second, a dump every tenth."""
    spec = Spec.model_validate(
        {"ttft": {}, "tpot": {}, "output_tokens": {}, "cost": {}, "segments": ["tenant", "script", "prompt"]}
    )
    random = np.random.default_rng(0)
    made = [_outcome(place, random) for place in range(PER_SECOND * SECONDS)]
    analysis = Analysis(spec)
    started = time.process_time()
    for place, outcome in enumerate(made, start=1):
        analysis.observe(outcome)
        if place % PER_SECOND == 0:
            analysis.verdicts(outcome.at)
        if place % (10 * PER_SECOND) == 0:
            analysis.dump()
    share = (time.process_time() - started) / SECONDS
    return Row(
        figure=f"judging {PER_SECOND:,} outcomes a second: 7 metrics, 3 kinds of segments",
        target="<= 5.0%",
        measured=f"{share:.1%}",
        interval="of a core",
        held=share <= 0.05,
        peers=("", ""),
        bound="",
    )


def _outcome(place: int, random: np.random.Generator) -> Outcome:
    candidate = bool(random.random() < 0.1)
    total = float(np.exp(random.normal())) * 800
    tokens = float(random.integers(1, 500))
    return Outcome(
        "candidate" if candidate else "baseline",
        f"conversation-{place // 3}",
        place / PER_SECOND,
        0.1,
        "error" if random.random() < 0.01 else None,
        ttft_ms=total / 4,
        tpot_ms=total / tokens,
        total_ms=total,
        output_tokens=tokens,
        cost_nano_usd=tokens * 100,
        segment={"tenant": f"team-{place % 7}", "script": "latin", "prompt": ("<=256", "<=1k", "<=4k")[place % 3]},
    )
