"""For tests: a small router made by hand, of `small` and `large`, where agreement raises the expectation."""

from __future__ import annotations

import numpy as np

from headrace_router.plan import describe, fit_plan
from headrace_router.predictors import Calibration, Linear, Trees
from headrace_router.prompt import WIDTH
from headrace_router.router import Head, Router
from headrace_router.state import ASKED, UNASKED

STRAIGHT = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def stump(inputs: int, feature: int, threshold: float) -> Trees:
    """One tree: below the threshold 0.27, above 0.73."""
    assert feature < inputs
    return Trees(
        feature=np.array([[feature, 0, 0]]),
        threshold=np.array([[threshold, 0.0, 0.0]]),
        left=np.array([[1, 1, 2]]),
        right=np.array([[2, 1, 2]]),
        missing_left=np.array([[True, False, False]]),
        value=np.array([[0.0, -1.0, 1.0]]),
        bias=0.0,
        depth=1,
    )


def fake_router(dimensions: int = 0, deployments: tuple[str, ...] = ("small", "large")) -> Router:
    """Its prior says 0.5 for the first deployment, or what the embedding's first number says, and 0.88 for the last."""
    count = len(deployments)
    rng = np.random.default_rng(0)
    weights = np.zeros((WIDTH + dimensions, count))
    if dimensions:
        weights[WIDTH, 0] = 4.0
    scores = (rng.random((200, count)) < np.linspace(0.5, 0.9, count)).astype(float)
    quality = np.clip(scores * 0.5 + rng.random(scores.shape) * 0.5, 0, 1)
    costs = np.tile(np.geomspace(0.001, 0.01, count), (200, 1))
    plan = fit_plan(dict.fromkeys(range(1 << count), quality), scores, costs, np.array([0.0, 10.0, 1000.0]))
    assert plan.weights[0][0, 0].shape == describe(quality[:1], 0)[0].shape
    return Router(
        deployments=deployments,
        rates=tuple({"A": 0.5, "B": 0.5} for _ in deployments),
        dimensions=dimensions,
        prior=Linear(weights, np.linspace(0.0, 2.0, count)),
        calibrations=(STRAIGHT,) * count,
        asked=Head(stump(ASKED, 3, 0.5), STRAIGHT),
        unasked=Head(stump(UNASKED, 4, 0.5), STRAIGHT),
        plan=plan,
        metadata={"dataset": "by hand"},
    )
