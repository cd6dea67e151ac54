"""What a request will cost, in tokens, before anything has counted them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace_inference.ports import Generation

CHARS_PER_TOKEN = 4
"""Of English text in the usual vocabularies; other text has fewer, and the fair queue corrects the estimate."""

_IMAGE_TOKENS = 576
"""An image of 336 x 336 pixels in patches of 14, as the LLaVA family reads it."""

_AUDIO_CHARS_PER_TOKEN = 1600
"""Base64 characters: 25 tokens a second of 16-bit mono sound at 16 kHz."""


def prompt_tokens(generation: Generation) -> int:
    """Tokens of the prompt, at least 1."""
    chars = len(generation.prompt)
    tokens = 0
    for message in generation.messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            chars += len(content)
        else:
            for part in content:
                chars += len(part.get("text", ""))
                tokens += _media_tokens(part)
    for tool in generation.sampling.tools:
        chars += len(str(tool))
    return tokens + chars // CHARS_PER_TOKEN + 1


def generation_tokens(prompt: int, generation: Generation, max_output_tokens: int) -> int:
    """Prompt tokens, and as many output tokens as the request may take."""
    sampling = generation.sampling
    return prompt + sampling.n * min(sampling.max_tokens or max_output_tokens, max_output_tokens)


def texts_tokens(texts: Sequence[str], more: str = "") -> int:
    """Tokens of texts, each read together with `more`; at least 1."""
    return (sum(map(len, texts)) + len(texts) * len(more)) // CHARS_PER_TOKEN + 1


def _media_tokens(part: dict[str, Any]) -> int:
    if "image_url" in part:
        return _IMAGE_TOKENS
    if "input_audio" in part:
        return int(len(part["input_audio"]["data"]) // _AUDIO_CHARS_PER_TOKEN)
    return 0
