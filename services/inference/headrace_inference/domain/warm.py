"""A real request to an engine before others send theirs: it shows that the model works, and fills its caches."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

from headrace_inference.ports import Engine, Generation, Sampling
from headrace_kit.config.deployments import BaseDeployment, LanguageDeployment, OnnxDeployment
from headrace_kit.errors import Upstream

LIMIT_S = 300.0
"""Longest warm-up: a long system prompt on a slow CPU takes minutes."""

_ANSWER_TOKENS = 4
_TEXT = "Hello"


def warm_ups(config: BaseDeployment) -> list[Generation]:
    """What a deployment's config wants answered. The prompts are the platform's own, so their cache is everybody's."""
    if not isinstance(config, LanguageDeployment):
        return []
    sampling = Sampling(max_tokens=_ANSWER_TOKENS, temperature=0)
    prompt, system = config.warmup.prompt, config.warmup.system_prompt
    user = {"role": "user", "content": prompt or _TEXT}
    made = []
    if prompt is not None:
        made.append(Generation(messages=(user,), sampling=sampling))
    if system is not None:
        made.append(Generation(messages=({"role": "system", "content": system}, user), sampling=sampling))
    if config.speculation.method != "none":
        # An instance that does not draft has caches of its own.
        made += [dataclasses.replace(generation, max_draft_tokens=0) for generation in made]
    return made


async def warm(engine: Engine, config: BaseDeployment) -> None:
    """Send an engine its warm-up requests.

    Hosted models are not warmed: they are warm, and cost money.

    Raises:
        Upstream: it took longer than `LIMIT_S`.
        HeadraceError: what the engine raised.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            for generation in warm_ups(config):
                async with aclosing(engine.generate(generation)) as chunks:
                    async for _ in chunks:
                        pass
            if isinstance(config, OnnxDeployment):
                await _warm_texts(engine, config.task)
    except TimeoutError as error:
        raise Upstream(f"the warm-up took longer than {LIMIT_S:.0f} s", code="engine_failed") from error


async def _warm_texts(engine: Engine, task: str) -> None:
    if task == "embed":
        await engine.embed([_TEXT], truncate=True)
    elif task == "rerank":
        await engine.rerank(_TEXT, [_TEXT])
    else:
        await engine.classify([_TEXT])
