"""Histograms of the GenAI conventions, with the buckets that these advise, and their names for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_kit.telemetry import genai

TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
INPUT, OUTPUT = "input", "output"
TRACE_ID, SPAN_ID = "trace_id", "span_id"
"""Labels of exemplars."""

_CALL = (genai.OPERATION_NAME, genai.PROVIDER_NAME, genai.REQUEST_MODEL)


@dataclass(frozen=True, slots=True)
class Measure:
    """One histogram.

    Attributes:
        name: of the conventions.
        unit: as UCUM writes it: `s`, `{token}`.
        about: what is observed.
        attributes: that it is told apart by.
        bounds: upper bounds of its buckets.
    """

    name: str
    unit: str
    about: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...]

    @property
    def prometheus_name(self) -> str:
        """As OpenTelemetry's rules for Prometheus make it."""
        return plain(self.name) + ("_seconds" if self.unit == "s" else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """The attributes as Prometheus' labels."""
        return tuple(map(plain, self.attributes))


def plain(name: str) -> str:
    """A name of the conventions as Prometheus spells it."""
    return name.replace(".", "_")


OPERATION_DURATION = Measure(
    "gen_ai.client.operation.duration",
    "s",
    "Time that a call of a model took, an attempt of a request being one.",
    (*_CALL, genai.ERROR_TYPE),
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
TOKEN_USAGE = Measure(
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens that a call of a model took, and those that it made.",
    (*_CALL, TOKEN_TYPE),
    tuple(float(4**power) for power in range(14)),
)
TIME_TO_FIRST_TOKEN = Measure(
    "gen_ai.server.time_to_first_token",
    "s",
    "Time from the arrival of a request at a model to its first token.",
    _CALL,
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
TIME_PER_OUTPUT_TOKEN = Measure(
    "gen_ai.server.time_per_output_token",
    "s",
    "Time that each token after the first took.",
    _CALL,
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
)
MEASURES = (OPERATION_DURATION, TOKEN_USAGE, TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN)
