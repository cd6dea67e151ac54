"""Embeddings of a hosted provider."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from headrace_inference.ports import Embeddings, Usage
from headrace_kit.config.deployments import LiteLlmDeployment
from headrace_kit.errors import Upstream

ROWS = 96
"""Texts of one call: the least that a common provider takes at most."""

_AT_ONCE = 4
"""Calls at one time for one request."""


async def embed(
    texts: Sequence[str], config: LiteLlmDeployment, litellm: ModuleType, common: dict[str, Any], *, truncate: bool
) -> Embeddings:
    """L2-normalised vectors in order; litellm's exceptions pass.

    Raises:
        Upstream: the provider's vectors have another length than the config says.
    """
    if truncate:
        texts = await asyncio.to_thread(_cut, texts, config, litellm)
    options: dict[str, Any] = {"encoding_format": "float"} if config.model.startswith("openai/") else {}
    if _own_length(config, litellm) not in (None, config.dimensions):
        options["dimensions"] = config.dimensions
    room = asyncio.Semaphore(_AT_ONCE)

    async def call(part: Sequence[str]) -> Any:
        async with room:
            return await litellm.aembedding(input=list(part), **options, **common)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call(texts[at : at + ROWS])) for at in range(0, len(texts), ROWS)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    vectors: list[bytes] = []
    tokens = 0
    for start, task in zip(range(0, len(texts), ROWS), tasks, strict=True):
        answer = task.result()
        tokens += answer.usage.prompt_tokens if answer.usage else 0
        rows = sorted(answer.data, key=lambda row: row["index"])
        if len(rows) != len(texts[start : start + ROWS]):
            raise Upstream(f"the provider gave {len(rows)} vectors, not one for each text", code="engine_failed")
        vectors += [_normalised(row["embedding"], config) for row in rows]
    return Embeddings(vectors, Usage(input_tokens=tokens))


def _own_length(config: LiteLlmDeployment, litellm: ModuleType) -> int | None:
    """Length of the model's vectors where nobody asks for another; None where litellm does not know it."""
    known = litellm.model_cost.get(config.model) or litellm.model_cost.get(config.model.partition("/")[2]) or {}
    return known.get("output_vector_size")


def _normalised(numbers: Sequence[float], config: LiteLlmDeployment) -> bytes:
    if len(numbers) != config.dimensions:
        raise Upstream(
            f"vectors of {config.model} have {len(numbers)} dimensions here; the config says {config.dimensions}",
            code="engine_misconfigured",
        )
    norm = math.sqrt(math.fsum(value * value for value in numbers)) or 1.0
    return array("f", (value / norm for value in numbers)).tobytes()


def _cut(texts: Sequence[str], config: LiteLlmDeployment, litellm: ModuleType) -> list[str]:
    """Texts within the context. A token has at least a byte, so only long texts are counted at all."""
    most = config.context_tokens
    cut = []
    for text in texts:
        if len(text.encode()) > most:
            tokens = litellm.encode(model=config.model, text=text)
            tokens = getattr(tokens, "ids", tokens)
            text = litellm.decode(model=config.model, tokens=tokens[:most]) if len(tokens) > most else text
        cut.append(text)
    return cut
