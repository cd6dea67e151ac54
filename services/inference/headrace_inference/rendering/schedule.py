"""When drafts pay: at small batches.

Published figures for Qwen3-8B with EAGLE-3 on TensorRT-LLM: 2.7, 2.4, 2.2 and 1.6 times as fast at batches of 1, 2, 4
and 8. Engines that can change the length of drafts by batch size get this schedule where the deployment is adaptive
and has no plain instance that the service could send requests to.
"""

from __future__ import annotations

from headrace_kit.config.deployments import LanguageDeployment, ServerDeployment, TritonGpuDeployment

FULL_UNTIL = 8
"""Largest batch with full drafts."""

HALF_UNTIL = 32
"""Largest batch with drafts of half the length; none beyond."""


def engine_decides(deployment: LanguageDeployment) -> bool:
    """Whether the engine itself is to shorten drafts as its batch grows."""
    speculation = deployment.speculation
    if speculation.method == "none" or not speculation.adaptive:
        return False
    if isinstance(deployment, TritonGpuDeployment):
        return not deployment.plain_instance
    return not (isinstance(deployment, ServerDeployment) and deployment.plain_address)


def ranges(max_draft_tokens: int, slots: int) -> list[tuple[int, int, int]]:
    """(first batch size, last, draft tokens) up to `slots`."""
    half = max(1, max_draft_tokens // 2)
    steps = [(1, FULL_UNTIL, max_draft_tokens), (FULL_UNTIL + 1, HALF_UNTIL, half), (HALF_UNTIL + 1, slots, 0)]
    return [(first, min(last, slots), tokens) for first, last, tokens in steps if first <= slots]
