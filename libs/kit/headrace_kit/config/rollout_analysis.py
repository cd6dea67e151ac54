"""What a candidate must show before it gets more keys: part of `rollouts.<model>`.

A margin says how much worse than the baseline a candidate may be. Both ways to err are bounded, however often somebody
looks: a candidate that is no worse than the baseline is rolled back in at most `alpha` of rollouts, all metrics and
segments together, and one that is worse than a margin passes it in at most `alpha`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, Name, Percent, Section

FailureKind = Literal["error", "timeout", "blocked", "invalid", "empty", "refused", "left"]
Judged = Literal["p50", "p75", "p90", "p95", "p99", "mean"]
Segment = Literal["tenant", "script", "prompt"]


LIVE_SCORES = ("groundedness", "feedback")
"""Scores that live answers have: how far passages support them, and what people say of them."""


class Metric(Section):
    """What every metric has."""

    share: float = Field(
        1, gt=0, le=100, description="Share of `alpha` that a rollback for this metric gets, relative to the others'."
    )

    @property
    @abstractmethod
    def margin(self) -> float:
        """How much worse the candidate may be: a share of requests, of the baseline's value, or of a score's range."""


class Errors(Metric):
    """How much more often requests may fail on the candidate."""

    max_increase: Percent = Field(
        100, description="Margin in percentage points of requests: with `1%` and a baseline that fails 0.5%, 1.5%."
    )

    @property
    def margin(self) -> float:
        return self.max_increase / 10_000


class Failures(Metric):
    """The same for failures that are hard whatever their number."""

    max_increase: Percent = Field(50, description="Margin in percentage points of requests.")
    kinds: tuple[FailureKind, ...] = Field(
        ("timeout", "blocked", "invalid", "empty"),
        min_length=1,
        description="Failures that count here: no answer in time, stopped by a guardrail, not the JSON or form that "
        "was asked for, no text.",
    )

    @property
    def margin(self) -> float:
        return self.max_increase / 10_000


class Increase(Metric):
    """How much larger a quantity may be on the candidate, as a share of the baseline's."""

    max_increase: Percent = Field(description="Margin as a share of the baseline's value: with `20%`, 1.2 times.")
    judge: tuple[Judged, ...] = Field(
        min_length=1,
        max_length=4,
        description="What is compared: quantiles of requests, or the mean (of values cut at the 99.5% quantile). "
        "Each must be within the margin.",
    )

    @model_validator(mode="after")
    def _judged_once(self) -> Increase:
        if len(set(self.judge)) != len(self.judge):
            raise ValueError("judge names the same twice")
        return self

    @property
    def margin(self) -> float:
        return self.max_increase / 10_000


class Latency(Increase):
    """How much slower the candidate may be."""

    max_increase: Percent = Field(
        2_000, description="Margin as a share of the baseline's value: with `20%`, 1.2 times."
    )
    judge: tuple[Judged, ...] = Field(
        ("p50", "p95"),
        min_length=1,
        max_length=4,
        description="What is compared: quantiles of requests, or the mean (of values cut at the 99.5% quantile). "
        "Each must be within the margin.",
    )


class Spending(Increase):
    """How much more the candidate may use."""

    max_increase: Percent = Field(
        1_000, description="Margin as a share of the baseline's value: with `10%`, 1.1 times."
    )
    judge: tuple[Judged, ...] = Field(
        ("mean",),
        min_length=1,
        max_length=4,
        description="What is compared: quantiles of requests, or the mean (of values cut at the 99.5% quantile). "
        "Each must be within the margin.",
    )


class Score(Metric):
    """How much lower a score from 0 to 1 may be on the candidate; higher is better."""

    max_decrease: Percent = Field(
        200,
        description="Margin in percentage points: with `2%` and a baseline of 0.80, 0.78. With `0%` it must be better.",
    )

    @property
    def margin(self) -> float:
        return self.max_decrease / 10_000


class Analysis(Section):
    """How a candidate is judged on live traffic. What is left out is not judged."""

    alpha: Percent = Field(
        500,
        ge=1,
        le=5_000,
        description="How often at most a candidate as good as the baseline is rolled back, over all metrics, segments "
        "and looks; and how often at most one worse than a margin passes it.",
    )
    errors: Errors | None = Field(Errors(), description="Requests that failed, of any kind. `null`: not judged.")
    failures: Failures | None = Field(Failures(), description="Hard failures. `null`: not judged.")
    ttft: Latency | None = Field(None, description="Time to the first token.")
    tpot: Latency | None = Field(None, description="Time per output token after the first; streams only.")
    total: Latency | None = Field(Latency(), description="Time to the end of the answer. `null`: not judged.")
    output_tokens: Spending | None = Field(None, description="Length of answers.")
    cost: Spending | None = Field(None, description="Cost of a request.")
    scores: dict[Name, Score] = Field(
        default_factory=dict,
        max_length=16,
        description="Scores of live answers by name: `groundedness`, how far passages support them; `feedback`, what "
        "people say of them, with -1 as 0 and 1 as 1.",
    )
    pairs: dict[Name, Score] = Field(
        default_factory=dict,
        max_length=16,
        description="Scores of both arms' answers to the same request, from shadowing, by name.",
    )
    segments: tuple[Segment, ...] = Field(
        (),
        max_length=3,
        description="Groups that are watched one by one, so that harm to one of them is not averaged away: `tenant`, "
        "`script` of the prompt's language, `prompt` length.",
    )
    segments_share: Percent = Field(
        2_000, ge=100, le=9_000, description="Share of each metric's part of `alpha` that goes to segments, if any."
    )
    segments_most: int = Field(
        16, ge=1, le=64, description="Groups that are watched, the first that come; they share equally."
    )
    least_keys: int = Field(
        20, ge=1, le=100_000, description="Sticky keys that the candidate must have answered before any metric passes."
    )
    missing_after: Duration = Field(
        600, ge=1, le=604_800, description="Time without a value from the candidate after which a metric is missing."
    )
    missing_limit: Duration | None = Field(
        3600, ge=0, le=2_592_000, description="Time with a metric missing after which it is rolled back. `null`: never."
    )

    @model_validator(mode="after")
    def _judges_something(self) -> Analysis:
        if not any(True for _ in self.metrics()):
            raise ValueError("nothing is judged: name a metric, or leave `analysis` out")
        return self

    def metrics(self) -> Iterator[tuple[str, Metric]]:
        """Name and section of what is judged; scores are `scores.<name>`, pairs `pairs.<name>`."""
        for name in ("errors", "failures", "ttft", "tpot", "total", "output_tokens", "cost"):
            metric = getattr(self, name)
            if metric is not None:
                yield name, metric
        for name, score in self.scores.items():
            yield f"scores.{name}", score
        for name, score in self.pairs.items():
            yield f"pairs.{name}", score
