"""What every deployment has."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import ceil, lcm

from pydantic import Field

from headrace_kit.config.base import Duration, Name, Section

NANO = 1_000_000_000


class Price(Section):
    """What a million tokens cost. Decimals in US dollars; counted inside as nano-dollars."""

    version: str | None = Field(
        None, max_length=64, description="Name of this price list, for example its date; recorded with each cost."
    )
    input_usd_per_million: Decimal = Field(
        Decimal(0), ge=0, le=10_000, description="US dollars per million input tokens."
    )
    cached_input_usd_per_million: Decimal | None = Field(
        None, ge=0, le=10_000, description="The same for tokens read from a prefix cache. Default: the input price."
    )
    cache_write_usd_per_million: Decimal | None = Field(
        None,
        ge=0,
        le=10_000,
        description="The same for tokens that a provider wrote to its prefix cache. Default: the input price.",
    )
    output_usd_per_million: Decimal = Field(
        Decimal(0), ge=0, le=10_000, description="US dollars per million output tokens."
    )

    def cost_nano_usd(
        self, input_tokens: int, cached_tokens: int, output_tokens: int, cache_write_tokens: int = 0
    ) -> int:
        """Cost in nano-dollars, rounded to nearest; cached and cache-written tokens are part of `input_tokens`."""
        plain, read, written, output, scale = self._whole
        fresh = input_tokens - cached_tokens - cache_write_tokens
        cost = fresh * plain + cached_tokens * read + cache_write_tokens * written + output_tokens * output
        whole, rest = divmod(cost, scale)
        # An exact half goes to the even neighbour, as `round` has it.
        return whole + (2 * rest > scale or (2 * rest == scale and whole % 2 == 1))

    @cached_property
    def _whole(self) -> tuple[int, int, int, int, int]:
        """Prices of a plain, a cached, a cache-written and an output token as whole numbers, and what a nano-dollar is
        in their unit: a request's cost is reckoned without decimals."""
        plain = self.input_usd_per_million
        read = plain if self.cached_input_usd_per_million is None else self.cached_input_usd_per_million
        written = plain if self.cache_write_usd_per_million is None else self.cache_write_usd_per_million
        prices = [Fraction(price) * NANO / 1_000_000 for price in (plain, read, written, self.output_usd_per_million)]
        scale = lcm(*(price.denominator for price in prices))
        first, second, third, fourth = (int(price * scale) for price in prices)
        return first, second, third, fourth, scale

    @cached_property
    def most_nano_usd(self) -> tuple[int, int]:
        """The most that one input token and one output token can cost, in nano-dollars, rounded up."""
        inputs = (self.input_usd_per_million, self.cached_input_usd_per_million, self.cache_write_usd_per_million)
        dearest = max(price for price in inputs if price is not None)
        return ceil(dearest * NANO / 1_000_000), ceil(self.output_usd_per_million * NANO / 1_000_000)


class BaseDeployment(Section):
    """What every deployment has."""

    price: Price = Field(default_factory=Price, description="What its tokens cost.")
    max_in_flight: int = Field(
        256, ge=1, le=10_000, description="Requests in the engine and its queue; more are refused."
    )
    residency: Name | None = Field(
        None,
        description="Where it computes, for example `eu`. Tenants with a `residency` are served only there. "
        "Default: not stated, so that it serves none of them.",
    )
    tags: tuple[Name, ...] = Field(
        (), max_length=64, description="Words that tenants may require or forbid, for example `zero-retention`."
    )
    internal: bool = Field(
        False,
        description="Whether what it is sent stays inside the company: only such deployments get requests in which "
        "guardrails found what a policy lists under `internal_only`.",
    )


class WakingDeployment(BaseDeployment):
    """A deployment on a server that may be stopped while nobody needs it."""

    wakes_within: Duration | None = Field(
        None,
        ge=1,
        le=3_600,
        description="Its server may be stopped: requests wait for so long, or until their deadline, while somebody "
        "starts it, KEDA for one, by the metric `headrace_inference_wanted`. A request whose deadline is sooner than "
        "the last start took is refused at once. Default: the server always runs.",
    )


class TritonDeployment(WakingDeployment):
    """A deployment that a Triton runs."""

    triton_address: str | None = Field(
        None,
        description="host:port of the gRPC of the Triton that runs it. Default: services.inference.triton_address. "
        "The chart sets it for deployments that a model server of its own runs.",
    )
    triton_metrics_address: str | None = Field(
        None,
        description="host:port of that Triton's metrics over HTTP. Default: services.inference.triton_metrics_address.",
    )
