"""What becomes of traces: who gets them too, which keep their spans, and what is read off them."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from headrace_kit.config.base import Duration, Name, Percent, SecretRef, Section


class Forward(Section):
    """A system that gets spans too, redacted as they are stored: OTLP over HTTP, as protobuf."""

    url: str | SecretRef = Field(
        description="Its whole address, for example `http://tempo:4318/v1/traces`, or the secret that holds it."
    )
    headers: dict[str, str | SecretRef] = Field(
        default_factory=dict, max_length=16, description="What it wants to see, for example `authorization`."
    )
    tenants: tuple[Name, ...] = Field((), max_length=256, description="Only these tenants' spans. Default: all.")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | SecretRef) -> str | SecretRef:
        if isinstance(url, str) and not re.match(r"^https?://[^/\s]+/\S+$", url):
            raise ValueError(f"{url!r} is not an address like http://tempo:4318/v1/traces, its path included")
        return url


class Thin(Section):
    """Which traces keep their spans, decided when they are over.

    Kept are those with an error, with feedback, longer than `slow`, with an answer that a cascade rejected, and those
    that somebody asked to keep. Of the others, `keep` says. What goes are spans and contents; sums stay exact.
    """

    keep: Percent = Field(10_000, description="Share of the plain traces that keep their spans. 100%: nothing goes.")
    after: Duration = Field(
        3600, ge=1, le=86_400, description="How long a trace gets no new span until it is decided about."
    )
    slow: Duration = Field(10, ge=0, description="Traces that take at least so long are kept.")
    keep_rollouts: bool = Field(
        True, description="Whether traces that a rollout looks at are kept, both arms while it runs."
    )


class Topics(Section):
    """Topics of what is asked, by meaning: found by an embedding model in a sample of each day's questions.

    Off until `embedding` names a deployment. Questions are embedded as they are stored, redacted, once their day is
    over, and never those of a tenant that may not use the deployment.
    """

    embedding: Name | None = Field(None, description="Deployment of inference that embeds. Default: no topics.")
    sample: int = Field(
        300, ge=20, le=5000, description="Questions of a day that are embedded, of each tenant's requests to a model."
    )
    most: int = Field(
        20_000, ge=100, le=1_000_000, description="Questions of a day that are embedded in all, shared out evenly."
    )
    clusters: int = Field(12, ge=2, le=64, description="Topics that are told apart, at most.")


class Drift(Section):
    """When requests of the last days differ from those before: by model and collection, once a day is over (UTC)."""

    days: int = Field(1, ge=1, le=31, description="Days that are looked at together.")
    reference_days: int = Field(7, ge=1, le=90, description="Days before those, that they are held against.")
    least: int = Field(100, ge=10, le=1_000_000, description="Requests that each side needs.")
    psi: float = Field(
        0.2, ge=0, le=10, description="From which population stability index on a difference matters, chance taken off."
    )
    alpha: float = Field(
        0.01, gt=0, le=0.5, description="Largest share of false alarms among the alarms of a day, on average."
    )
    kept_days: int = Field(
        90, ge=8, le=400, description="Days that the counts are kept, longer than the traces they were counted from."
    )

    topics: Topics = Field(default_factory=Topics, description="Topics by meaning.")

    @model_validator(mode="after")
    def _kept(self) -> Drift:
        if self.days + self.reference_days > self.kept_days:
            raise ValueError("days and reference_days are more than kept_days: nothing would be left to compare with")
        return self


class Retried(Section):
    """When somebody asks the same question again, the trace of the first answer gets implicit feedback, `retried`.

    The same means: of one user, or in one conversation where no user is named. It wants content: where `trace_content`
    is `off` nothing is known.
    """

    within: Duration = Field(600, ge=0, le=86_400, description="How soon after the first question. 0: never.")
    alike: Percent = Field(
        10_000,
        ge=5000,
        description="Share of words that both have in common, in their order. 100%: the same but for case, punctuation "
        "and spaces. Below it rewordings count, and with them questions that differ in the word that matters.",
    )
    score: float | None = Field(
        None, ge=-1, le=1, description="Score of that feedback. Default: none, so that means of scores are people's."
    )
