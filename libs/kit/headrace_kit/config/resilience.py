"""What a model does when an engine fails, is slow, or dies: sections of `models.<name>`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace_kit.config.base import Duration, Percent, Section


class RetryBudget(Section):
    """How many tries more than one a request there may be, over all requests of a model in one gateway.

    A bucket of tokens: each request puts `share` of one in, each second `per_second`, each further try takes one out.
    """

    share: Percent = Field(2_000, description="Further tries, as a share of the requests.")
    per_second: float = Field(
        1, ge=0, le=1000, description="Further tries a second that are possible whatever the number of requests."
    )


class Retry(Section):
    """What is tried again after an engine failed before its first token."""

    attempts: int = Field(2, ge=1, le=5, description="Tries in all among the deployments of a stage.")
    budget: RetryBudget = Field(
        default_factory=RetryBudget,
        description="Keeps retries and hedges from becoming a storm. Fallbacks, each asked once, are not counted.",
    )


class Breaker(Section):
    """When a deployment that fails is left alone for a while. Each gateway judges by its own requests for this model.

    What the caller got wrong and a full queue are no failures. The last deployment that may serve is always asked.
    """

    consecutive_failures: int = Field(5, ge=1, le=1000, description="Failures in a row after which it opens.")
    failure_share: Percent = Field(
        5_000, ge=1, description="Share of failed attempts within `window` at which it opens."
    )
    least_attempts: int = Field(
        20, ge=1, le=100_000, description="Attempts within `window` below which no share is judged."
    )
    window: Duration = Field(10, ge=1, le=600, description="How far back shares look.")
    open_for: Duration = Field(
        5,
        gt=0,
        le=3600,
        description="Time until one attempt may probe the deployment; doubled each time that it fails again, up to "
        "eight times as long.",
    )


class Outliers(Section):
    """When a deployment is left alone because it does worse than the others of its pool, for `breaker.open_for`.

    Needs `breaker.least_attempts` on both sides.
    """

    slower_than: float = Field(
        4, ge=1.1, le=1000, description="Median time to its first token, as a multiple of the others' median."
    )
    slower_by: Duration = Field(0.25, le=600, description="And slower than theirs by at least this.")
    more_failures: Percent = Field(
        2_000,
        ge=1,
        description="Share of failed attempts beyond that of the others, in percentage points.",
    )
    most_out: Percent = Field(5_000, description="Most of the pool that may be out; breakers that are open count too.")


class Hedge(Section):
    """A second attempt, elsewhere in the pool, when the first token is slow. The first token wins.

    The other attempt is cancelled and billed for what it did. Hedges take from the retry budget too.
    """

    after: Literal["p95"] | Duration = Field(
        "p95",
        description="How long to wait for the first token; `p95`: 95% of the deployment's latest first tokens came "
        "sooner (no hedges before there are 20).",
    )
    at_most: Percent = Field(500, description="Hedged requests, as a share of all.")


class Timeouts(Section):
    """When an engine that says nothing has failed. `timeout_ms` bounds the whole answer besides."""

    first_token: Duration | None = Field(
        None, gt=0, le=3600, description="Longest wait for an attempt's first token. Default: no limit of its own."
    )
    between_tokens: Duration = Field(
        60, gt=0, le=3600, description="Longest wait for the next token of a stream that has begun."
    )


class Resilience(Section):
    """What every model says about failures."""

    retry: Retry = Field(default_factory=Retry, description="Retries before the first token.")
    breaker: Breaker | None = Field(
        default_factory=Breaker, description="When a failing deployment is left alone. null: never."
    )
    outliers: Outliers | None = Field(
        default_factory=Outliers,
        description="When a deployment that does worse than its pool is left alone. null: never.",
    )
    hedge: Hedge | None = Field(None, description="A second attempt when the first token is slow. Default: none.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="When an engine that says nothing has failed.")
    failover: Literal["error", "continue"] = Field(
        "error",
        description="When an engine dies within an answer that is being sent: `error` ends it with an error; "
        "`continue` goes on from the text so far on another deployment that can (an error where none can, and for "
        "answers with tools, a response format, log probabilities, reasoning or n above 1).",
    )
