"""A scenario file: what traffic does, what both arms do, and what the rollout asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headrace_kit.config.base import Duration, Name, Percent, Section
from headrace_kit.config.rollout_analysis import Analysis


class ScenarioInvalid(ValueError):
    """A scenario that cannot be played; the message names the file and the field."""


def _factor(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("x"):
        return float(value[:-1])
    return value


Factor = Annotated[float, BeforeValidator(_factor, json_schema_input_type=str | float), Field(gt=0, le=1000)]
"""How many times as much: `1.5x` or a number."""


class Law(Section):
    """A lognormal law."""

    median: float = Field(gt=0, description="Median, in the unit of the quantity.")
    sigma: float = Field(0.5, ge=0, le=4, description="Spread of the logarithm: 0.5 is common, 1.5 has a heavy tail.")


class Baseline(Section):
    """What the baseline does."""

    errors: Percent = Field(100, description="Requests that fail.")
    timeouts: Percent = Field(0, description="Requests that fail hard.")
    total_ms: Law = Field(Law(median=800), description="Time to the end of an answer.")
    ttft_ms: Law = Field(Law(median=200), description="Time to the first token.")
    tpot_ms: Law = Field(Law(median=20, sigma=0.3), description="Time per token.")
    output_tokens: Law = Field(Law(median=150, sigma=0.8), description="Length of answers.")
    cost_usd: Law = Field(Law(median=0.001, sigma=0.8), description="Cost of a request.")
    scores: dict[Name, Percent] = Field(default_factory=dict, description="Answers that are good, by score.")
    scored: Percent = Field(10_000, description="Answers that have each score: people rate few.")


class Candidate(Section):
    """What the candidate does otherwise. What is left out is as on the baseline."""

    errors: Percent | None = Field(None, description="Requests that fail.")
    timeouts: Percent | None = Field(None, description="Requests that fail hard.")
    latency: Factor = Field(1.0, description="All latencies, as a multiple of the baseline's.")
    latency_sigma: Factor = Field(1.0, description="Their spread, as a multiple: heavier tails with the same median.")
    output_tokens: Factor = Field(1.0, description="Length of answers, as a multiple.")
    cost: Factor = Field(1.0, description="Cost, as a multiple.")
    scores: dict[Name, Percent] = Field(default_factory=dict, description="Answers that are good, by score.")
    scored: Percent | None = Field(None, description="Answers that have each score.")
    begins: Duration = Field(0, description="When it becomes different; until then it is as the baseline.")
    tenant: int | None = Field(None, ge=0, le=99, description="Only this tenant sees a difference; all others none.")


class PairLaw(Section):
    """What both arms' answers to the same request score."""

    discordant: Percent = Field(1_500, description="Requests of which just one arm's answer is good.")
    worse: float = Field(0, ge=-100, le=100, description="Points by which the candidate is worse; below 0: better.")

    @model_validator(mode="after")
    def _possible(self) -> PairLaw:
        if abs(self.worse) * 100 > self.discordant:
            raise ValueError("worse cannot be more than discordant")
        return self


class Bursts(Section):
    """Times of more traffic and more errors, on both arms alike."""

    every: Duration = Field(1800, gt=0, description="From one to the next.")
    last: Duration = Field(120, gt=0, description="How long each is.")
    traffic: Factor = Field(3.0, description="Traffic then, as a multiple.")
    errors: Percent = Field(1_000, description="Requests that fail then besides.")


class Drift(Section):
    """How both arms change alike over time."""

    over: Duration = Field(3600, gt=0, description="Time of the change; afterwards it stays.")
    traffic: Factor = Field(1.0, description="Traffic at its end, as a multiple.")
    errors: Factor = Field(1.0, description="Failures at its end, as a multiple.")
    latency: Factor = Field(1.0, description="Latencies at its end, as a multiple.")


class Traffic(Section):
    """Who asks, and when."""

    requests_per_minute: float = Field(600, gt=0, le=1_000_000, description="Requests a minute.")
    users: int = Field(0, ge=0, le=1_000_000, description="Sticky keys. 0: every request is a key of its own.")
    activity: float = Field(1.0, ge=0, le=3, description="How unlike users are in how much they ask: sigma of its log.")
    correlation: float = Field(
        0, ge=0, le=0.9, description="Correlation of two outcomes of the same user, from what users are and ask."
    )
    tenants: int = Field(4, ge=1, le=100, description="Tenants, with equal shares of the traffic.")
    bursts: Bursts | None = None
    drift: Drift | None = None


class Step(Section):
    """A step of the rollout."""

    weight: Percent = Field(description="Share of sticky keys on the candidate.")
    at_least: Duration = Field(0, description="Least time.")
    at_most: Duration | None = Field(None, description="Time after which a step that has not passed is rolled back.")


class Missing(Section):
    """What stops arriving from the candidate."""

    metric: Name | None = Field(None, description="Metric without values from then on. Left out: all outcomes.")
    after: Duration = Field(600, description="When it stops.")


class Scenario(Section):
    """What is played."""

    about: str = Field("", description="One line for the table.")
    analysis: Analysis = Field(Analysis(), description="As in `rollouts.<model>.analysis`.")
    steps: tuple[Step, ...] = Field((Step.model_validate({"weight": "10%"}),), min_length=1, max_length=20)
    traffic: Traffic = Traffic()
    baseline: Baseline = Baseline()
    candidate: Candidate = Candidate()
    pairs: dict[Name, PairLaw] = Field(default_factory=dict, description="Every request is shadowed, if any.")
    missing: Missing | None = None
    canary_requests: int = Field(3_000, ge=10, le=1_000_000, description="Requests of the candidate until it ends.")
    requests: int = Field(60_000, ge=10, le=2_000_000, description="Requests of all until it ends.")
    detect_within: int | None = Field(
        None, ge=1, description="Requests of the candidate, or pairs, within which a rollback counts as detection."
    )


def read(path: Path) -> Scenario:
    """A scenario from a YAML file.

    Raises:
        ScenarioInvalid: there is no such file, or it is no scenario.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ScenarioInvalid(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioInvalid(f"{path} is not UTF-8: {error.reason}") from error
    return parse_text(text, str(path))


def parse_text(text: str, name: str) -> Scenario:
    """A scenario from YAML.

    Raises:
        ScenarioInvalid: it is no scenario; the message names the field.
    """
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise ScenarioInvalid(f"{name} is not YAML: {error}") from error
    return parse(tree, name)


def parse(tree: Any, name: str) -> Scenario:
    """A scenario from what a YAML file holds.

    Raises:
        ScenarioInvalid: it is no scenario; the message names the field.
    """
    try:
        return Scenario.model_validate(tree if tree is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ScenarioInvalid(f"{name}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
