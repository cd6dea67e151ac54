"""What a request carries through the pipeline, and what its record is made from later."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uuid_utils

from headrace_gateway.admission.rates import Meter
from headrace_gateway.budgets.purse import Purse
from headrace_gateway.outcome import Outcome
from headrace_gateway.routing.plan import ModelPlan
from headrace_gateway.routing.table import Table
from headrace_gateway.routing.traits import Traits
from headrace_kit.errors import HeadraceError
from headrace_kit.rpc.call import Identity
from headrace_kit.telemetry.requests import Hop
from headrace_protos.common.v1.chat_pb2 import Usage

if TYPE_CHECKING:
    from headrace_gateway.arms.canary import Canary
    from headrace_gateway.arms.guardrails import Trial
    from headrace_gateway.arms.outcomes import Answered
    from headrace_gateway.arms.shadow import Copy
    from headrace_gateway.observing.content import Captured

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_random = random.SystemRandom()
# Ids need no secrecy, only spread: a generator seeded from the system is ten times faster than the system itself.
_bits = random.Random(_random.getrandbits(128)).getrandbits  # noqa: S311

_NOBODY = Identity("gateway")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a transport knows of a request before its body.

    `remaining_s` is the caller's own limit. `request_id` is given where the transport has one already. Without
    `traced`, only a caller who sent a trace context has it recorded. `routed`: a route shared it out between two
    releases of the gateway. `tenant` is another team, for which an admin asks.
    """

    route: str
    authorization: str = ""
    traceparent: str = ""
    remaining_s: float | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    transport: str = "http"
    request_id: str = ""
    traced: bool = True
    routed: bool = False
    tenant: str = ""


class Stage:
    """See `RequestContext.stage`."""

    __slots__ = ("_ctx", "_hop")

    def __init__(self, ctx: RequestContext, hop: Hop) -> None:
        self._ctx, self._hop = ctx, hop

    def __enter__(self) -> Hop:
        return self._hop

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._ctx.end(self._hop, error_code(error) if error is not None else "")


@dataclass(slots=True)
class RequestContext:
    """One request from its first to its last byte. Made by `open_request`, filled in by the stages.

    `deadline` is on the clock of `time.monotonic`.
    """

    arrival: Arrival
    request_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    sampled: bool
    started_ns: int
    started_monotonic_ns: int
    table: Table
    deadline: float | None
    identity: Identity = _NOBODY
    key_name: str = ""
    operation: str = ""
    plan: ModelPlan | None = None
    rollout_id: str = ""
    arm: str = ""
    unit: str = ""
    arm_weight: int = 0
    """The candidate's share when the arm was chosen, in 1/10000."""
    shadow: bool = False
    """A copy of somebody's request, for the candidate: nobody reads its answer."""
    copy: Copy | None = None
    """The request as it came, where a copy of it goes to a candidate."""
    canary: Canary | None = None
    """The arm that this gateway is on while a new release of gateways is tried."""
    trial: Trial | None = None
    """The release of guardrails that it is on while a new one is tried."""
    answered: Answered | None = None
    """The answer as its caller gets it; only on an arm of a rollout."""
    content: Captured | None = None
    """What it says and is answered, where its trace keeps that."""
    stream: bool = False
    outcome: Outcome = field(default_factory=Outcome)
    hops: list[Hop] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    first_token_us: int = 0
    cost_nano_usd: int = 0
    usage: Usage = field(default_factory=Usage)
    """Tokens of the attempt that answered."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Epochs of the collections that were searched, by name, as they were before the search."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    conversation: str = ""
    """The caller's id of the conversation; empty where it gave none."""
    sensitive: str = ""
    """What guardrails found that keeps this request on internal deployments; empty: nothing."""
    traits: Traits | None = None
    """What conditions of deployments are about; read where a pool has such."""
    stopped: str = ""
    """Finish reason given by us, when a stage ended the answer before the engine did."""
    purse: Purse | None = None
    """The money that it may spend; None before it was let in."""
    rates: Meter | None = None
    """The tenant's limits by the minute, where it has some."""
    judging: int = 0
    """Calls to engines so far that only judged answers."""
    desperate: bool = False
    """No healthy deployment may serve it: any is asked."""

    def elapsed_us(self) -> int:
        """Microseconds since the request arrived."""
        return (time.monotonic_ns() - self.started_monotonic_ns) // 1000

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, never running backwards within a request."""
        return self.started_ns + time.monotonic_ns() - self.started_monotonic_ns

    def limit(self, seconds: float) -> None:
        """End this request at most `seconds` after its arrival."""
        latest = self.started_monotonic_ns / 1e9 + seconds
        self.deadline = latest if self.deadline is None else min(self.deadline, latest)

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def expired(self, within_s: float = 0.0) -> bool:
        """Whether the deadline has passed, or will within so many seconds."""
        return self.deadline is not None and time.monotonic() + within_s >= self.deadline

    def stop(self, finish_reason: str) -> None:
        """A stage ends the answer before the engine does: that is no failure of the attempt."""
        self.stopped = finish_reason

    def begin(self, name: str, **attributes: Any) -> Hop:
        """Open a step of the trace; the caller ends it with `end`. Without a trace it is as good as the request."""
        if not self.sampled:
            return Hop(name, self.span_id, 0, 0, attributes)
        hop = Hop(name, new_span_id(), self.wall_ns(), 0, attributes)
        self.hops.append(hop)
        return hop

    def end(self, hop: Hop, error: str = "") -> None:
        """Close a step. `error` is a code of the error table."""
        if not self.sampled:
            return
        hop.ended_ns = self.wall_ns()
        hop.error = error

    def stage(self, name: str, **attributes: Any) -> Stage:
        """A step of the trace around a block; an exception marks it as failed and goes on."""
        return Stage(self, self.begin(name, **attributes))

    def sample_again(self) -> None:
        """Decide by the tenant's own share whether it is traced, where it has one and no caller has decided."""
        share = self.table.tenant(self.identity.tenant).trace_sample
        if share is not None and not self.parent_span_id and self.arrival.traced:
            self.sampled = _sampled(int(self.trace_id, 16), share)

    def traceparent(self, span_id: str) -> str:
        """W3C trace context of a call made under the span `span_id`."""
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"


def open_request(arrival: Arrival, table: Table) -> RequestContext:
    """The context of a request that just arrived. Keeps the caller's trace when it sent a valid one."""
    match = _TRACEPARENT.match(arrival.traceparent) if arrival.traceparent else None
    if match and match[1] != "0" * 32 and match[2] != "0" * 16 and not arrival.traceparent.startswith("ff"):
        trace_id, parent, sampled = match[1], match[2], bool(int(match[3], 16) & 1)
    else:
        number = _bits(128)
        trace_id, parent = "%032x" % number, ""
        sampled = arrival.traced and _sampled(number, table.sample_basis_points)
    now = time.monotonic_ns()
    return RequestContext(
        arrival=arrival,
        request_id=arrival.request_id or str(uuid_utils.uuid7()),
        trace_id=trace_id,
        span_id=new_span_id(),
        parent_span_id=parent,
        sampled=sampled,
        started_ns=time.time_ns(),
        started_monotonic_ns=now,
        table=table,
        deadline=None if arrival.remaining_s is None else now / 1e9 + arrival.remaining_s,
    )


def apart(ctx: RequestContext) -> RequestContext:
    """A context of the same caller and trace that outlives the request."""
    arrival = Arrival(ctx.arrival.route, traceparent=ctx.traceparent(ctx.span_id), request_id=ctx.request_id)
    made = open_request(arrival, ctx.table)
    made.identity, made.key_name = ctx.identity, ctx.key_name
    return made


def _sampled(number: int, basis_points: int) -> bool:
    return basis_points >= 10_000 or number % 10_000 < basis_points


def new_span_id() -> str:
    """16 hexadecimal digits, not all zero."""
    return "%016x" % (_bits(64) | 1)  # quicker than an f-string


def error_code(error: BaseException) -> str:
    """The error's code as events and spans tell it; a cancelled request's is `client_closed_request`."""
    if isinstance(error, HeadraceError):
        return error.code
    if isinstance(error, TimeoutError):
        return "deadline_exceeded"
    return "client_closed_request" if not isinstance(error, Exception) else "internal_error"
