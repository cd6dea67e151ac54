"""Prometheus metrics; the same names over all engines.

Children are resolved once a deployment, not once a request; gauges are read when Prometheus asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from opentelemetry.trace import Span, format_span_id, format_trace_id
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.measures import SPAN_ID, TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN, TRACE_ID

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_BY = ("deployment",)

GAUGES = {
    "running": "Requests in the engine.",
    "waiting": "Requests in the queue.",
    "slots_used": "Places in the engine that are taken: a request holds one for each of its choices or texts.",
    "ready": "1 when the deployment serves.",
    "asleep": "1 while the deployment's server is stopped, or starts, as it may.",
    "wanted": "1 while somebody waits for the deployment or uses it, and for a minute after its last request.",
    "version": "Loads that took over.",
    "tokens_per_second": "Output tokens per second over the last 10 s.",
    "kv_cache_used": "Share of the key-value cache in use, 0 to 1; NaN where the engine does not tell.",
    "prefix_cache_hit_share": "Share of prompt tokens that were read from a prefix cache, over the last requests.",
    "speculation_max_draft_tokens": "Tokens that may be drafted a step now; 0: speculation is off.",
    "speculation_acceptance": "Share of drafted tokens that was accepted, over the last few thousand.",
    "speculation_tokens_per_step": "Tokens that a step of the model brings a request, over the last requests.",
}
"""Gauges by deployment, without the prefix."""


class Metrics:
    """All metrics of the service, labelled by deployment.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "headrace_inference_"

        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(prefix + name, says, _BY + labels, registry=registry)

        def histogram(name: str, says: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(prefix + name, says, _BY + labels, registry=registry, buckets=buckets)

        self.arrivals = counter("arrivals", "Requests that came.")
        self.requests = counter("requests", "Requests that ended.", "task", "outcome")
        self.refused = counter("refused", "Requests that the queue refused.", "reason")
        self.loads = counter("loads", "Loads that ended.", "outcome")
        self.tokens = counter("tokens", "Tokens by kind.", "kind")
        self.draft_tokens = counter("draft_tokens", "Tokens that speculation proposed, and those accepted.", "verdict")
        self.queue_seconds = histogram("queue_seconds", "Wait for a slot.")
        self.first_token_seconds = histogram("first_token_seconds", "Arrival to first token.")
        self.output_token_seconds = histogram(
            "output_token_seconds", "Time per output token after the first.", buckets=_TOKEN_SECONDS
        )
        self.conventional = {
            measure: Histogram(
                measure.prometheus_name, measure.about, measure.labels, registry=registry, buckets=measure.bounds
            )
            for measure in (TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN)
        }
        self.seconds = histogram("request_seconds", "Arrival to end.", "task")
        self.gauges = {name: Gauge(prefix + name, says, _BY, registry=registry) for name, says in GAUGES.items()}

    def of(self, deployment: str, engine: str = "") -> DeploymentMetrics:
        """One deployment's, and the name of what runs it."""
        return DeploymentMetrics(self, deployment, engine)


class DeploymentMetrics:
    """The children of one deployment; those with further labels are made when first needed."""

    def __init__(self, metrics: Metrics, name: str, engine: str) -> None:
        self._metrics = metrics
        self._first_token, self._output_token = (
            metrics.conventional[measure].labels(genai.OPERATION_CHAT, engine, name)
            for measure in (TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN)
        )
        self._name = name
        self._requests: dict[tuple[str, str], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        self.arrivals = metrics.arrivals.labels(name)
        self.input_tokens = metrics.tokens.labels(name, "input")
        self.cached_input_tokens = metrics.tokens.labels(name, "cached_input")
        self.output_tokens = metrics.tokens.labels(name, "output")
        self.queue_seconds = metrics.queue_seconds.labels(name)
        self._first_token_seconds = metrics.first_token_seconds.labels(name)
        self._output_token_seconds = metrics.output_token_seconds.labels(name)

    @cached_property
    def drafted(self) -> Counter:
        """Draft tokens that were proposed."""
        return self._metrics.draft_tokens.labels(self._name, "proposed")

    @cached_property
    def accepted(self) -> Counter:
        """Draft tokens that were accepted."""
        return self._metrics.draft_tokens.labels(self._name, "accepted")

    def ended(self, task: str, outcome: str, seconds: float) -> None:
        """A request ended."""
        key = (task, outcome)
        if key not in self._requests:
            self._requests[key] = self._metrics.requests.labels(self._name, task, outcome)
        self._requests[key].inc()
        if task not in self._seconds:
            self._seconds[task] = self._metrics.seconds.labels(self._name, task)
        self._seconds[task].observe(seconds)

    def first_token(self, seconds: float, span: Span | None) -> None:
        """The first token of an answer went out, so long after its request came; `span` is an example of that."""
        self._first_token_seconds.observe(seconds)
        self._first_token.observe(seconds, _exemplar(span))

    def output_token(self, seconds: float, span: Span | None) -> None:
        """An answer ended whose tokens after the first took so long each; `span` is an example of that."""
        self._output_token_seconds.observe(seconds)
        self._output_token.observe(seconds, _exemplar(span))

    def refused(self, reason: str) -> None:
        """The queue refused a request."""
        self._metrics.refused.labels(self._name, reason).inc()

    def loaded(self, outcome: str) -> None:
        """A load ended: `ok` or `failed`."""
        self._metrics.loads.labels(self._name, outcome).inc()

    def watch(self, gauges: dict[str, Callable[[], float]]) -> None:
        """Read gauges of `GAUGES` from these functions, whenever Prometheus asks."""
        for gauge, read in gauges.items():
            self._metrics.gauges[gauge].labels(self._name).set_function(read)

    def forget(self) -> None:
        """The deployment is gone: its gauges go with it."""
        for gauge in self._metrics.gauges.values():
            gauge.remove(self._name)


def _exemplar(span: Span | None) -> dict[str, str] | None:
    ids = span.get_span_context() if span is not None else None
    if ids is None or not ids.trace_flags.sampled:
        return None
    return {TRACE_ID: format_trace_id(ids.trace_id), SPAN_ID: format_span_id(ids.span_id)}
