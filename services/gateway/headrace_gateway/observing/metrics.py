"""The gateway's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace_gateway.context import RequestContext

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counts. Labels come from the config and the route table alone, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def name(suffix: str) -> str:
            return f"headrace_gateway_{suffix}"

        self._requests = Counter(
            name("requests"), "Requests that have ended.", ("route", "status", "model", "transport"), registry=registry
        )
        self._seconds = Histogram(
            name("request_seconds"), "Time from arrival to the last byte.", ("route",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.in_flight = Gauge(name("in_flight"), "Requests between arrival and last byte.", registry=registry)
        self.loop_lag = Gauge(
            name("loop_lag_seconds"), "Least delay of the event loop over the last half second.", registry=registry
        )
        self._first_token = Histogram(
            name("first_token_seconds"), "Time from arrival to the first released token.", ("model",),
            registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self._attempts = Counter(
            name("attempts"), "Attempts on deployments by how they ended.", ("deployment", "outcome"),
            registry=registry,
        )  # fmt: skip
        self._verdicts = Counter(
            name("cascade_verdicts"), "Verdicts on the answers of cascade stages.",
            ("model", "stage", "moment", "verdict"), registry=registry,
        )  # fmt: skip
        self._webhooks = Counter(
            name("webhooks"), "Webhooks by how they ended: sent, failed, dropped.", ("outcome",), registry=registry
        )
        self._tokens = Counter(name("tokens"), "Tokens, rejected stages included.", ("model", "deployment", "kind"),
                               registry=registry)  # fmt: skip
        self._cost = Counter(name("cost_usd"), "US dollars spent on tokens.", ("tenant", "model"), registry=registry)
        self._blocked = Counter(
            name("guard_findings"), "Guardrail findings.", ("direction", "check", "action"), registry=registry
        )
        self._cache = Counter(
            name("cache_requests"), "Requests for models with a cache.", ("model", "outcome"), registry=registry
        )
        self._saved = Counter(
            name("cache_saved_usd"), "US dollars that cached answers did not cost again.", ("model",), registry=registry
        )
        self.log_backlog = Gauge(
            name("log_backlog"), "Events in the local log that PostgreSQL does not have yet.", registry=registry
        )
        self.spans_dropped = Counter(
            name("spans_dropped"), "Spans given up because the receiver was away.", registry=registry
        )

    def request(self, ctx: RequestContext, status: int) -> None:
        """A request has ended."""
        model = ctx.plan.name if ctx.plan else ""
        self._requests.labels(ctx.arrival.route, str(status), model, ctx.arrival.transport).inc()
        self._seconds.labels(ctx.arrival.route).observe(ctx.elapsed_us() / 1e6)
        if ctx.first_token_us:
            self._first_token.labels(model).observe(ctx.first_token_us / 1e6)
        if ctx.cost_nano_usd:
            self._cost.labels(ctx.identity.tenant, model).inc(ctx.cost_nano_usd / 1e9)

    def attempt(self, model: str, deployment: str, outcome: str, input_tokens: int, output_tokens: int) -> None:
        """An attempt has ended; `outcome` is `ok`, `rejected` or a code of the error table."""
        self._attempts.labels(deployment, outcome).inc()
        self._tokens.labels(model, deployment, "input").inc(input_tokens)
        self._tokens.labels(model, deployment, "output").inc(output_tokens)

    def verdict(self, model: str, stage: int, moment: str, verdict: str) -> None:
        """A cascade `accepted` or `rejected` the answer of a stage, `early` or `after`."""
        self._verdicts.labels(model, str(stage), moment, verdict).inc()

    def webhook(self, outcome: str) -> None:
        """A webhook was `sent`, has `failed` for good, or was `dropped` before it was tried."""
        self._webhooks.labels(outcome).inc()

    def cache(self, model: str, outcome: str) -> None:
        """A request was a `hit`, a `miss` or a `bypass` of its model's cache."""
        self._cache.labels(model, outcome).inc()

    def saved(self, model: str, nano_usd: int) -> None:
        """A cached answer was given again."""
        self._saved.labels(model).inc(nano_usd / 1e9)

    def finding(self, direction: str, check: str, action: str, count: int) -> None:
        """A guardrail found something."""
        self._blocked.labels(direction, check, action).inc(count)
