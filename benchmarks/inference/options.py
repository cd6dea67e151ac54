"""What a run of the benchmarks is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.inference.prompts import Prompts


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of the measurements.

    Attributes:
        prompts: where user messages come from.
        model: catalogue entry of the language model in the default config.
        slots: requests that the engine works on at one time.
        threads: CPU threads of the engine.
        streams: numbers of concurrent streams.
        rounds: repetitions of each comparison; medians are taken over them.
        tokens: most output tokens of an answer.
        requests: requests of the memory part.
    """

    prompts: Prompts
    model: str
    slots: int
    threads: int
    streams: tuple[int, ...]
    rounds: int
    tokens: int
    requests: int

    def language_model(self, **changes: Any) -> dict[str, Any]:
        """A deployment of the language model."""
        return {
            "engine": "triton-llamacpp",
            "model": self.model,
            "quantization": "q8_0",
            "context_tokens": 2048,
            "slots": self.slots,
            "threads": self.threads,
            "max_output_tokens": 256,
            "max_in_flight": 256,
            **changes,
        }
