"""The pictures of docs/guides/rollouts.md: `python -m benchmarks.rollouts.live.record [FOLDER]`.

Two rollouts over real processes under load: a candidate that is a little faster promotes itself, and one of which 4%
fails is rolled back. What `headrace rollouts explain --plot` draws of each is written to FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.rollouts.live.world import LIVELY, OF, running
from headrace.cli.rollouts_more import drawn
from headrace.types.admin import RolloutExplanation

FOLDER = Path("docs/guides/images")
RATE, DELAY_MS = 40.0, 100.0
STEPS = [
    {"weight": "10%", "at_least": "15s"},
    {"weight": "30%", "at_least": "15s"},
    {"weight": "60%", "at_least": "15s"},
    {"weight": "100%"},
]
ANALYSIS: dict[str, Any] = {
    "errors": {"max_increase": "4%"},
    "failures": None,
    "total": {"max_increase": "20%", "judge": ["p50"]},
}


def main() -> None:
    """Run both, and draw them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    _, better, worse = OF
    with running(DELAY_MS) as world, world.load(dict.fromkeys(world.ports, LIVELY), RATE):
        for deployment, state, name in ((worse, "rolled_back", "rolled-back"), (better, "promoted", "promoted")):
            id_ = world.start(deployment, STEPS, LIVELY, analysis=ANALYSIS)
            told = world.until(id_, state, within_s=280)
            file = folder / f"rollout-{name}.svg"
            file.write_text(drawn(msgspec.convert(told, RolloutExplanation, strict=False)), "utf-8")
            print(f"{file}: {told['rollout']['reason']}")
            if state == "promoted":
                world.abort(id_)


if __name__ == "__main__":
    main()
