"""The steps of a rollout, and when it may take them."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, Field, field_validator, model_validator

from headrace_kit.config.base import Duration, Name, Percent, Section

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Step(Section):
    """One step: which share of sticky keys is on the candidate, which share of requests is copied to it, how long."""

    weight: Percent = Field(0, description="Share of sticky keys on the candidate. 0%: nobody's.")
    shadow: Percent = Field(
        0,
        description="Share of the baseline's requests that the candidate gets a copy of, off their path. Nobody sees "
        "its answers; they are compared with those that were given.",
    )
    evaluate: Name | None = Field(
        None,
        description="A suite of `evals:` that candidate and baseline are both asked before anybody is on the "
        "candidate: a step of weight 0%. Passed, the next step begins; failed, the rollout is rolled back.",
    )
    at_least: Duration = Field(0, description="Least time in this step before the next.")
    at_most: Duration | None = Field(
        None,
        gt=0,
        description="After so long without every metric within its margin the step holds and tells people; after "
        "`hold` more the rollout is rolled back. Default: it waits as long as it takes.",
    )
    approval: bool = Field(
        False, description="Go on only when a person says so too: `headrace rollouts approve`, once a step."
    )

    @model_validator(mode="after")
    def _order(self) -> Step:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is shorter than at_least")
        if not (self.weight or self.shadow or self.at_least or self.approval or self.evaluate):
            raise ValueError("the step does nothing: give it a weight, a shadow, evaluate, at_least or approval")
        if self.evaluate is not None and self.weight:
            raise ValueError("a step that evaluates comes before anybody is on the candidate: leave its weight out")
        if self.weight == 10_000 and self.shadow:
            raise ValueError("with weight 100% no request is left to copy: leave shadow out")
        return self


class Schedule(Section):
    """When steps may begin. Rollbacks happen at any time."""

    days: tuple[Day, ...] = Field(("mon", "tue", "wed", "thu", "fri"), min_length=1, description="Days of the week.")
    start: time = Field(time(9), description="Time of day from which steps may begin, for example `09:00`.")
    end: time = Field(time(17), description="Time of day from which they may not.")
    timezone: str = Field("UTC", description="Name of a time zone, for example `Europe/Berlin`.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not a time zone that this machine knows") from error
        return name

    @model_validator(mode="after")
    def _order(self) -> Schedule:
        if self.start >= self.end:
            raise ValueError("start is not before end")
        return self

    def open(self, now: datetime) -> bool:
        """Whether a step may begin at `now`, which has a time zone."""
        there = now.astimezone(ZoneInfo(self.timezone))
        return DAYS[there.weekday()] in self.days and self.start <= there.time() < self.end

    def opens(self, now: datetime) -> datetime:
        """The next moment from `now` on at which a step may begin."""
        zone = ZoneInfo(self.timezone)
        there = now.astimezone(zone)
        if self.open(now):
            return now
        for ahead in range(8):
            day = there.date() + timedelta(days=ahead)
            first = datetime.combine(day, self.start, zone)
            if DAYS[day.weekday()] in self.days and first > there:
                return first
        raise AssertionError("a week has each day")


class Freeze(Section):
    """A time in which no step begins. Rollbacks happen nevertheless."""

    start: AwareDatetime = Field(description="From when, with its zone: `2026-12-20T00:00:00Z`.")
    end: AwareDatetime = Field(description="Until when.")
    reason: str = Field("", max_length=200, description="Why, for people.")

    @model_validator(mode="after")
    def _order(self) -> Freeze:
        if self.start >= self.end:
            raise ValueError("start is not before end")
        return self


class PairJudge(Section):
    """A model that says which of two answers to one request is better: `analysis.pairs.judge` is judged by it.

    It is asked twice, with the answers' places swapped; verdicts that differ are a tie. First it makes the comparisons
    that people made, and what it gets wrong there is taken into account: see the guide.
    """

    model: Name = Field(description="Model that judges, under `models:`. It must be able to answer by a JSON schema.")
    labels: str = Field(
        min_length=1,
        max_length=500,
        description="File of comparisons that people made, beside the config, a line each: "
        '`{"input", "a", "b", "prefers": "a"|"b"|"tie"}`. Answers should be such as the two arms give.',
    )
    tenant: Name = Field(description="For whom the judge is asked about the labels, and who pays for that.")
    criteria: str = Field(
        "Which answer is more correct and more helpful?",
        min_length=1,
        max_length=2_000,
        description="What it is to look at.",
    )
    share: Percent = Field(10_000, ge=1, description="Share of the copies that it judges.")
    usd_per_hour: float = Field(
        1.0, gt=0, le=100_000, description="Most that it may cost in an hour on live answers, per gateway, in USD."
    )


class Shadow(Section):
    """What copies of requests may take. They never delay the request that they are a copy of."""

    concurrency: int = Field(
        2, ge=1, le=256, description="Copies at one time, per gateway; more are left out, not queued."
    )
    usd_per_hour: float = Field(
        1.0, gt=0, le=100_000, description="Most that copies may cost in an hour, per gateway, in USD."
    )
    similarity: Name | None = Field(
        None, description="Deployment that embeds both answers, to tell how much they mean the same. Default: none."
    )
    judge: PairJudge | None = Field(None, description="A model that compares both answers. Default: none.")
