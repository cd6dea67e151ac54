"""How a cascade judges answers: part of `models:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Section

TOKEN_SIGNALS = ("mean_logprob", "min_logprob")
"""Signals that the tokens of an answer give while they come."""

_BOUNDS = {
    "mean_logprob": ("at_least", -100.0, 0.0),
    "min_logprob": ("at_least", -100.0, 0.0),
}
"""For each signal, which bound it takes, and from where to where that may lie."""


class Early(Section):
    """A verdict on the beginning of an answer. The rest of an accepted one streams from the same call."""

    tokens: int = Field(16, ge=1, le=4096, description="Tokens that the verdict is about.")
    hold_ms: int = Field(
        1000, ge=1, le=600_000, description="Longest time that text is held back from its first token, in milliseconds."
    )
    on_hold_timeout: Literal["judge", "accept", "escalate"] = Field(
        "judge",
        description="What happens when `hold_ms` passes before `tokens` are there: `judge` what is there, `accept` it, "
        "or `escalate`.",
    )


class Accept(Section):
    """When a cascade stage's answer is good enough. An answer that calls tools must also have arguments that their
    schemas allow."""

    signal: Literal["mean_logprob", "min_logprob"] = Field(
        description="Confidence of an answer: mean or least natural log probability of its tokens."
    )
    at_least: float | None = Field(None, ge=-100, le=100, description="Least value that is accepted.")
    window: int | None = Field(
        None,
        ge=2,
        le=4096,
        description="Judge an answer by its worst run of this many tokens (at least; a run is made of whole messages "
        "of the engine). Default: the whole answer counts. Not for `min_logprob`.",
    )
    early: Early | None = Field(
        None, description="Judge the beginning of a streamed answer. Default: the whole answer is held and judged."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Accept:
        option, least, most = _BOUNDS[self.signal]
        value = getattr(self, option)
        if value is None:
            raise ValueError(f"signal {self.signal} needs {option}")
        if not least <= value <= most:
            raise ValueError(f"{option} of signal {self.signal} must be {least:g} to {most:g}")
        if self.window is not None and self.signal == "min_logprob":
            raise ValueError("window is for means: min_logprob is of one token")
        return self

    def passes(self, value: float | None) -> bool:
        """Whether a value is good enough; none at all is not."""
        return value is not None and self.at_least is not None and value >= self.at_least
