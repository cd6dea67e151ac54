"""How a cascade judges answers, and what a model says when it is not sure: part of `models:`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section

if TYPE_CHECKING:
    from headrace_kit.config.deployments import BaseDeployment

Signal = Literal["mean_logprob", "min_logprob", "margin", "entropy", "self_consistency", "verifier", "json_schema"]

TOKEN_SIGNALS = ("mean_logprob", "min_logprob", "margin", "entropy")
"""Signals that the tokens of an answer give while they come."""

RANKED_SIGNALS = ("margin", "entropy")
"""Those that need the alternatives of each token."""

_RANGES = {
    "mean_logprob": (-100.0, 0.0),
    "min_logprob": (-100.0, 0.0),
    "margin": (0.0, 100.0),
    "entropy": (0.0, 20.0),
    "self_consistency": (0.0, 1.0),
    "verifier": (0.0, 1.0),
}
"""From where to where the value of a signal lies."""

NO_LOGPROBS: Mapping[str, str] = {
    "triton-tensorrtllm": "its model in Triton reports no log probabilities of tokens",
}
"""Engines whose tokens tell nothing, and why."""


def silent(deployment: BaseDeployment) -> str:
    """Why the tokens of a deployment tell nothing, as far as that is known; empty: they tell, or it is not known."""
    if getattr(deployment, "logprobs", True) is False:
        return "logprobs is false there: the model reports no log probabilities"
    return NO_LOGPROBS.get(getattr(deployment, "engine", ""), "")


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


class Verifier(Section):
    """Another deployment that is asked whether an answer is good."""

    deployment: Name = Field(
        description="One that generates gives a typed verdict from 0 to 1; one of task `classify` gives the "
        "probability of `label`."
    )
    label: str | None = Field(
        None, min_length=1, max_length=200, description="Label of a good answer. Required for task `classify`."
    )
    instructions: str | None = Field(
        None, min_length=1, max_length=4000, description="What a good answer is, in words, for one that generates."
    )


class Check(Section):
    """How sure an answer is."""

    signal: Signal = Field(
        description="`mean_logprob`, `min_logprob`: mean or least natural log probability of the answer's tokens. "
        "`margin`: mean lead of the most likely token over the second, in nats. `entropy`: mean entropy of the tokens, "
        "in nats. `self_consistency`: share of further samples that say the same. `verifier`: what another deployment "
        "thinks of it. `json_schema`: 1 where the answer has the form that the request asks for, else 0."
    )
    window: int | None = Field(
        None,
        ge=2,
        le=4096,
        description="Judge an answer by its worst run of this many tokens (at least; a run is made of whole messages "
        "of the engine). Default: the whole answer counts. For `mean_logprob`, `margin` and `entropy`.",
    )
    samples: int = Field(3, ge=2, le=16, description="Further answers that `self_consistency` asks for.")
    temperature: float = Field(0.7, gt=0, le=2, description="Temperature of those.")
    verifier: Verifier | None = Field(None, description="Whom the signal `verifier` asks.")
    early: Early | None = Field(
        None,
        description="Judge the beginning of a streamed answer. Default: the whole answer is held and judged. For the "
        "signals of tokens.",
    )

    @model_validator(mode="after")
    def _suits(self) -> Check:
        if self.window is not None and self.signal not in ("mean_logprob", *RANKED_SIGNALS):
            raise ValueError(f"window is for means of tokens, not for {self.signal}")
        if self.early is not None and self.signal not in TOKEN_SIGNALS:
            raise ValueError(f"early is for {', '.join(TOKEN_SIGNALS)}: {self.signal} needs the whole answer")
        if (self.verifier is not None) != (self.signal == "verifier"):
            raise ValueError("verifier is required for the signal verifier, and only there")
        return self

    def bound(self, low: str, high: str) -> float | None:
        """The threshold, of the option `low`, or of `high` where less is better. Raises ValueError."""
        option, other = (high, low) if self.signal == "entropy" else (low, high)
        value: float | None = getattr(self, option)
        if getattr(self, other) is not None:
            raise ValueError(f"signal {self.signal} takes {option}, not {other}")
        if self.signal == "json_schema":
            if value is not None:
                raise ValueError(f"signal json_schema takes no {option}: an answer has the form or not")
            return 1.0
        if value is None:
            raise ValueError(f"signal {self.signal} needs {option}")
        least, most = _RANGES[self.signal]
        if not least <= value <= most:
            raise ValueError(f"{option} of signal {self.signal} must be {least:g} to {most:g}")
        return value

    @abstractmethod
    def sure(self, value: float | None) -> bool:
        """Whether a value is good enough; none at all is not."""


class Accept(Check):
    """When a cascade stage's answer is good enough. An answer that calls tools must also have arguments that their
    schemas allow."""

    at_least: float | None = Field(None, ge=-100, le=100, description="Least value that is accepted.")
    at_most: float | None = Field(None, ge=0, le=100, description="Greatest value that is accepted, of `entropy`.")

    @model_validator(mode="after")
    def _bounded(self) -> Accept:
        self.bound("at_least", "at_most")
        return self

    def sure(self, value: float | None) -> bool:
        """See `Check`."""
        bound = self.bound("at_least", "at_most")
        assert bound is not None
        return value is not None and (value <= bound if self.signal == "entropy" else value >= bound)


class Learned(Section):
    """A router that was trained (`headrace cascade train`): it says whom to ask next, and whose answer to give."""

    file: str = Field(
        min_length=1, max_length=1000, description="The router's file; beside this config where it is relative."
    )
    quality_per_usd: float = Field(
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="What quality (0 to 1) is given up to save a US dollar: at each step expected quality less cost "
        "times this is weighed. 0: the best answer whatever it costs. `headrace cascade tune` finds it.",
    )
    embedding: Name | None = Field(
        None, description="Deployment that embeds the prompt. Required where the router was trained with embeddings."
    )


class Webhook(Section):
    """Where to tell that a model was not sure: a signed POST of JSON, with a request's ids and none of its text."""

    url: str = Field(
        max_length=2000,
        pattern=r"^https?://[^/?#@\s]+([/?][^#\s]*)?$",
        description="Address; https, or of a host in `services.gateway.webhook_hosts`.",
    )
    secret: Name = Field(description="Name of the secret that the header `x-headrace-signature` is made with.")

    @property
    def host(self) -> str:
        """Its host, lower case."""
        return urlsplit(self.url).hostname or ""


class LowConfidence(Check):
    """What happens when the last stage is not sure either."""

    below: float | None = Field(None, ge=-100, le=100, description="Values below it are low.")
    above: float | None = Field(None, ge=0, le=100, description="Values above it are low, of `entropy`.")
    then: Literal["answer", "say", "hand_over"] = Field(
        "answer",
        description="`answer`: the answer is given and marked. `say`: `text` is given in its place. `hand_over`: the "
        "same, and a person is to answer. The last two hold the answer back until it was judged.",
    )
    text: str | None = Field(
        None, min_length=1, max_length=4000, description="What `say` and `hand_over` say. Required there."
    )
    webhook: Webhook | None = Field(None, description="Whom to tell of it. Default: nobody.")

    @model_validator(mode="after")
    def _whole(self) -> LowConfidence:
        self.bound("below", "above")
        if (self.text is not None) != (self.then != "answer"):
            raise ValueError("text is required for say and hand_over, and only there")
        if self.early is not None and self.then == "answer":
            raise ValueError("early is for say and hand_over: nothing is held back with answer")
        return self

    def sure(self, value: float | None) -> bool:
        """See `Check`."""
        bound = self.bound("below", "above")
        assert bound is not None
        return value is not None and (value <= bound if self.signal == "entropy" else value >= bound)
