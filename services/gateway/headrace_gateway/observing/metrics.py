"""The gateway's Prometheus metrics."""

from __future__ import annotations

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from headrace_gateway.context import RequestContext
from headrace_gateway.observing.tally import Ids, Spread, Tally
from headrace_gateway.running import Running
from headrace_kit.telemetry.measures import INPUT, OPERATION_DURATION, OUTPUT, TOKEN_USAGE, Measure

_HERE = Running()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ModelCall(Struct):
    """What the conventions measure of an attempt.

    `error` is a code of the error table, empty where it went well. `span` is its own, None where it is not recorded.
    """

    operation: str
    provider: str
    model: str
    error: str
    seconds: float
    input_tokens: int
    output_tokens: int
    span: Ids | None


class Metrics:
    """Counts. Labels come from the config and the route table alone, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry, running: Running = _HERE) -> None:
        self._track = running.track
        Info("headrace_gateway_running", "What runs here.", registry=registry).info(
            {"track": running.track, "release": running.release}
        )

        def name(suffix: str) -> str:
            return f"headrace_gateway_{suffix}"

        def tally(suffix: str, about: str, *labels: str) -> Tally:
            return Tally(name(suffix), about, labels, registry)

        def measured(measure: Measure) -> Spread:
            return Spread(measure.prometheus_name, measure.about, measure.labels, measure.bounds, registry)

        self._requests = tally(
            "requests", "Requests that have ended.", "route", "status", "model", "transport", "track"
        )
        self._seconds = Spread(
            name("request_seconds"), "Time from arrival to the last byte.", ("route",), _SECONDS, registry
        )
        self.in_flight = Gauge(name("in_flight"), "Requests between arrival and last byte.", registry=registry)
        self.loop_lag = Gauge(
            name("loop_lag_seconds"), "Least delay of the event loop over the last half second.", registry=registry
        )
        self._first_token = Spread(
            name("first_token_seconds"), "Time from arrival to the first released token.", ("model",), _SECONDS,
            registry,
        )  # fmt: skip
        self._attempts = tally("attempts", "Attempts on deployments by how they ended.", "deployment", "outcome")
        self._call_seconds, self._call_tokens = measured(OPERATION_DURATION), measured(TOKEN_USAGE)
        self._verdicts = tally(
            "cascade_verdicts", "Verdicts on the answers of cascade stages.", "model", "stage", "moment", "verdict"
        )
        self._webhooks = tally("webhooks", "Webhooks by how they ended: sent, failed, dropped.", "outcome")
        self._tokens = tally("tokens", "Tokens, rejected stages included.", "model", "deployment", "kind")
        self._cost = tally("cost_usd", "US dollars spent on tokens.", "tenant", "model")
        self.decisions_lost = Counter(
            name("guard_decisions_lost"), "Guardrail decisions that could not be sent to the audit.", registry=registry
        )
        self._blocked = tally("guard_findings", "Guardrail findings.", "direction", "check", "action")
        self._cache = tally("cache_requests", "Requests for models with a cache.", "model", "outcome")
        self._saved = tally("cache_saved_usd", "US dollars that cached answers did not cost again.", "model")
        self._conversations = tally(
            "conversations",
            "Turns of conversations that models keep: kept, not_kept, and not_read (answered without what was said).",
            "model",
            "outcome",
        )
        self._arms = tally(
            "arm_requests",
            "Requests on arms of rollouts by how they failed, if they did.",
            "model",
            "arm",
            "failure",
        )
        self._shadows = tally(
            "shadows",
            "Copies of requests for candidates: done, failed, left out (busy, spent); judged, unjudged, judge_spent.",
            "model",
            "outcome",
        )
        self.log_backlog = Gauge(
            name("log_backlog"), "Events in the local log that PostgreSQL does not have yet.", registry=registry
        )
        self.spans_dropped = Counter(
            name("spans_dropped"),
            "Requests without their spans: the receiver was away for long, or refused them.",
            registry=registry,
        )

    def request(self, ctx: RequestContext, status: int) -> None:
        """A request has ended."""
        model = ctx.plan.name if ctx.plan else ""
        span = (ctx.trace_id, ctx.span_id) if ctx.sampled else None
        self._requests.add((ctx.arrival.route, str(status), model, ctx.arrival.transport, self._track))
        self._seconds.observe((ctx.arrival.route,), ctx.elapsed_us() / 1e6, span)
        if ctx.first_token_us:
            self._first_token.observe((model,), ctx.first_token_us / 1e6, span)
        if ctx.cost_nano_usd:
            self._cost.add((ctx.identity.tenant, model), ctx.cost_nano_usd / 1e9)

    def arm(self, model: str, arm: str, failure: str) -> None:
        """A request on the arm of a rollout has ended; `failure` is empty where it went well."""
        self._arms.add((model, arm, failure))

    def shadow(self, model: str, outcome: str) -> None:
        """A copy of a request is `done`, has `failed`, or was left out: `busy`, `spent`."""
        self._shadows.add((model, outcome))

    def attempt(self, model: str, deployment: str, outcome: str, input_tokens: int, output_tokens: int) -> None:
        """An attempt has ended; `outcome` is `ok`, `rejected` or a code of the error table."""
        self._attempts.add((deployment, outcome))
        self._tokens.add((model, deployment, "input"), input_tokens)
        self._tokens.add((model, deployment, "output"), output_tokens)

    def called(self, call: ModelCall) -> None:
        """A call of a model has ended, well or not."""
        what = call.operation, call.provider, call.model
        self._call_seconds.observe((*what, call.error), call.seconds, call.span)
        if call.input_tokens:
            self._call_tokens.observe((*what, INPUT), call.input_tokens, call.span)
        if call.output_tokens:
            self._call_tokens.observe((*what, OUTPUT), call.output_tokens, call.span)

    def verdict(self, model: str, stage: int, moment: str, verdict: str) -> None:
        """A cascade `accepted` or `rejected` the answer of a stage, `early` or `after`."""
        self._verdicts.add((model, str(stage), moment, verdict))

    def webhook(self, outcome: str) -> None:
        """A webhook was `sent`, has `failed` for good, or was `dropped` before it was tried."""
        self._webhooks.add((outcome,))

    def cache(self, model: str, outcome: str) -> None:
        """A request was a `hit`, a `miss` or a `bypass` of its model's cache."""
        self._cache.add((model, outcome))

    def saved(self, model: str, nano_usd: int) -> None:
        """A cached answer was given again."""
        self._saved.add((model,), nano_usd / 1e9)

    def conversation(self, model: str, outcome: str) -> None:
        """A turn of a conversation was `kept`, or `not_kept`, or answered with what was said `not_read`."""
        self._conversations.add((model, outcome))

    def finding(self, direction: str, check: str, action: str, count: int) -> None:
        """A guardrail found something."""
        self._blocked.add((direction, check, action), count)
