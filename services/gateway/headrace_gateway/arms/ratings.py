"""What callers say of answers, told to the rollout whose arm made them: the score `feedback`.

Feedback comes later and to any replica, so what the rollout must know of the request stands in its trace: arm, unit and
weight, sealed with the rollout's salt. No caller knows that, so nobody can make up answers of an arm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from typing import NamedTuple

from google.protobuf.struct_pb2 import Struct as Attributes

from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.split import ARMS, Arm
from headrace_gateway.context import RequestContext, apart
from headrace_gateway.ledger.about import stamp
from headrace_gateway.ports import Journal, Services
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotFound
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.tracing.v1 import messages_pb2 as pb

_log = logging.getLogger(__name__)

SEAL = "headrace.rollout.seal"
"""In the trace of a request on an arm that is compared: 64 hexadecimal digits, which `opened` reads."""

FEEDBACK = "feedback"
"""Name of the score: 0 is the worst feedback, 1 the best."""

_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Waits for a trace that is not there yet: its answer has not ended, or it is still on its way."""

_MOST_WAITING = 1_000
"""Ratings that wait so at one time; of more the rollout is not told."""

_SAID = Struct(">BH8s")
_PROOF_BYTES = 21


class Sealed(NamedTuple):
    """What a seal says: the arm, the candidate's share of keys then in 1/10000, and the statistical unit."""

    arm: str
    weight: int
    unit: str


def seal(arm: Arm, trace_id: str) -> str:
    """What a trace says of the arm of its request."""
    said = _SAID.pack(ARMS.index(arm.name), arm.weight, bytes.fromhex(arm.unit))
    return (said + _proof(arm.salt, arm.rollout_id, trace_id, said)).hex()


def opened(sealed: str, salt: str, rollout_id: str, trace_id: str) -> Sealed | None:
    """What a seal says; None where it was not made for this rollout and trace."""
    try:
        whole = bytes.fromhex(sealed)
    except ValueError:
        return None
    said, proof = whole[: _SAID.size], whole[_SAID.size :]
    if not compare_digest(proof, _proof(salt, rollout_id, trace_id, said)):
        return None
    arm, weight, unit = _SAID.unpack(said)
    return Sealed(ARMS[arm], weight, unit.hex())


def _proof(salt: str, rollout_id: str, trace_id: str, said: bytes) -> bytes:
    told = f"seal\0{rollout_id}\0{trace_id}\0".encode() + said
    return blake2b(told, key=blake2b(salt.encode()).digest(), digest_size=_PROOF_BYTES).digest()


class Ratings:
    """Tells rollouts what callers say of answers.

    Args:
        services: keeps feedback and reads traces, for whoever gives it.
        leases: which rollouts run.
        journal: the event log.
        now_ns: nanoseconds since 1970.
        again_s: seconds between looks for a trace that is not there yet.
    """

    def __init__(
        self,
        services: Services,
        leases: Leases,
        journal: Journal,
        now_ns: Callable[[], int] = time.time_ns,
        again_s: Sequence[float] = _AGAIN_S,
    ) -> None:
        self._services, self._leases, self._journal, self._now_ns = services, leases, journal, now_ns
        self._again_s = again_s
        self._waiting: set[asyncio.Task[None]] = set()

    async def add(self, ctx: RequestContext, feedback: pb.AddFeedbackRequest) -> pb.Feedback:
        """Have tracing keep what somebody says of an answer, and tell the rollout, if it has an arm in one.

        Raises:
            HeadraceError: as tracing's `AddFeedback`.
        """
        said: pb.Feedback = await self._services.call(ctx, "tracing", "AddFeedback", feedback)
        await self.rated(ctx, feedback.trace_id, said.score if said.HasField("score") else None)
        return said

    async def rated(self, ctx: RequestContext, trace_id: str, score: float | None) -> None:
        """Feedback on a trace was stored, with a score from -1 to 1, or without. Never fails: it is there already."""
        if score is None or not self._leases.compares:
            return
        why = await self._tell(ctx, trace_id, score)
        if why and len(self._waiting) < _MOST_WAITING:
            task = asyncio.create_task(self._tell_later(ctx, trace_id, score))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        elif why:
            _log.warning("a rollout was not told of feedback: %s", why)

    async def stop(self) -> None:
        """Wait for no more traces."""
        await end(*self._waiting)

    async def _tell_later(self, ctx: RequestContext, trace_id: str, score: float) -> None:
        why = ""
        for wait_s in self._again_s:
            await asyncio.sleep(wait_s)
            if not (why := await self._tell(apart(ctx), trace_id, score)):
                return
        _log.warning("a rollout was not told of feedback: %s", why)

    async def _tell(self, ctx: RequestContext, trace_id: str, score: float) -> str:
        """Tell the rollout, if the answer is one of its; why that is not known yet, or nothing."""
        try:
            trace = await self._services.call(ctx, "tracing", "GetTrace", pb.GetTraceRequest(trace_id=trace_id))
        except NotFound:
            return "there is no trace of the answer"
        except HeadraceError as error:
            return error.message
        for span in trace.spans:
            if (event := self._event(trace, span.attributes)) is not None:
                event.scores[FEEDBACK] = (score + 1) / 2
                stamp(event, self._now_ns())
                self._journal.closed(event)
                return ""
        return "" if any(genai.REQUEST_ID in span.attributes.fields for span in trace.spans) else "no end of the answer"

    def _event(self, trace: pb.Trace, attributes: Attributes) -> RequestEvent | None:
        rollout_id = _text(attributes, genai.ROLLOUT)
        salt = self._leases.salt(rollout_id)
        sealed = opened(_text(attributes, SEAL), salt, rollout_id, trace.trace_id) if salt is not None else None
        if sealed is None:
            return None
        return RequestEvent(
            kind=RequestEvent.KIND_RATED,
            request_id=_text(attributes, genai.REQUEST_ID),
            trace_id=trace.trace_id,
            tenant=trace.tenant,
            rollout_id=rollout_id,
            arm=sealed.arm,
            weight=sealed.weight,
            unit=sealed.unit,
            segment={"tenant": trace.tenant},
        )


def _text(attributes: Attributes, name: str) -> str:
    return attributes.fields[name].string_value if name in attributes.fields else ""
