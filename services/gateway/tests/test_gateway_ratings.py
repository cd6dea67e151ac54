"""Feedback on answers of an arm reaches the rollout, and nobody can make up answers of an arm."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from headrace_gateway.arms.ratings import SEAL, Ratings, Sealed, opened, seal
from headrace_gateway.arms.split import Arm, unit
from headrace_kit.errors import NotFound, Upstream
from headrace_kit.telemetry import genai
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split
from headrace_protos.tracing.v1 import messages_pb2 as pb

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Traces:
    """Tracing, which has one trace, or is away."""

    def __init__(self, *attributes) -> None:
        self.asked = 0
        spans = [pb.Span(attributes=ParseDict(given, Struct())) for given in attributes]
        self.trace = pb.Trace(trace_id=TRACE, tenant="dev", spans=spans)
        self.away = False
        self.ended_at = 0
        """Before so many questions the answer has not ended."""

    async def call(self, ctx, service, method, request, *, timeout_s=30.0):
        self.asked += 1
        if self.away:
            raise Upstream("tracing is away")
        assert (service, method, request.trace_id) == ("tracing", "GetTrace", TRACE)
        if self.asked < self.ended_at:
            raise NotFound("there is no such trace")
        return self.trace


def arm(name="candidate", rollout_id="r1", salt="s", weight=1000):
    return Arm(None, rollout_id, name, unit(salt, "ana"), weight, salt=salt)


def grant(weight=1000):
    split = Split(rollout_id="r1", model="plain", salt="s", weight=weight, candidate_json='{"deployment": "large"}')
    return Grant(lease_ms=15_000, splits=[split])


def about(sealed, rollout_id="r1"):
    return {genai.ROLLOUT: rollout_id, genai.REQUEST_ID: "q1", SEAL: sealed}


def rated(rig):
    return [event for event in rig.journal.events if event.kind == event.KIND_RATED]


@pytest.mark.parametrize("name", ["baseline", "candidate", "fresh"])
def test_a_seal_says_what_the_arm_was(name):
    sealed = seal(arm(name), TRACE)
    assert len(sealed) == 64
    assert opened(sealed, "s", "r1", TRACE) == Sealed(name, 1000, unit("s", "ana"))


def test_a_seal_holds_for_its_rollout_and_trace_alone():
    sealed = seal(arm(), TRACE)
    for salt, rollout_id, trace_id in (("t", "r1", TRACE), ("s", "r2", TRACE), ("s", "r1", TRACE[::-1])):
        assert opened(sealed, salt, rollout_id, trace_id) is None
    other_arm = "00" + sealed[2:]
    for forged in (other_arm, "", "zz", sealed[:-2], sealed + "00"):
        assert opened(forged, "s", "r1", TRACE) is None


async def test_feedback_is_told_with_the_arm_of_the_answer(rig):
    rig.leases.take(grant(2000))
    step = {genai.REQUEST_ID: "q1"}
    traces = Traces(step, about(seal(arm(), TRACE)), about(seal(arm("baseline"), TRACE)))
    await Ratings(traces, rig.leases, rig.journal, lambda: 7 * 10**9).rated(rig.context(), TRACE, 0.5)
    [event] = rated(rig)
    assert (event.rollout_id, event.arm, event.weight, event.unit) == ("r1", "candidate", 1000, unit("s", "ana"))
    assert dict(event.scores) == {"feedback": 0.75}
    assert (event.tenant, event.request_id, event.time.seconds) == ("dev", "q1", 7)


async def test_what_is_no_answer_of_a_running_rollout_is_not_told(rig):
    for made in (about(seal(arm(salt="guessed"), TRACE)), about(seal(arm(), TRACE), "r9"), about("no seal")):
        rig.leases.take(grant())
        await Ratings(Traces(made), rig.leases, rig.journal).rated(rig.context(), TRACE, 1.0)
    assert rated(rig) == []


async def test_nobody_is_asked_without_a_score_or_a_rollout(rig):
    traces = Traces(about(seal(arm(), TRACE)))
    ratings = Ratings(traces, rig.leases, rig.journal)
    await ratings.rated(rig.context(), TRACE, 1.0)
    rig.leases.take(grant())
    await ratings.rated(rig.context(), TRACE, None)
    assert (traces.asked, rated(rig)) == (0, [])


async def test_feedback_is_stored_whether_or_not_the_rollout_hears_of_it(rig):
    rig.leases.take(grant())
    traces = Traces()
    traces.away = True
    ratings = Ratings(traces, rig.leases, rig.journal, again_s=(0, 0))
    await ratings.rated(rig.context(), TRACE, 1.0)
    await asyncio.gather(*ratings._waiting)
    assert (traces.asked, rated(rig)) == (3, [])


async def test_feedback_before_the_end_of_the_answer_is_told_after_it(rig):
    rig.leases.take(grant())
    traces = Traces(about(seal(arm(), TRACE)))
    traces.ended_at = 3
    ratings = Ratings(traces, rig.leases, rig.journal, again_s=(0, 0, 0))
    await ratings.rated(rig.context(), TRACE, 1.0)
    assert rated(rig) == []
    await asyncio.gather(*ratings._waiting)
    assert (traces.asked, len(rated(rig))) == (3, 1)


async def test_who_waits_for_a_trace_does_not_keep_the_gateway_from_its_end(rig):
    rig.leases.take(grant())
    ratings = Ratings(Traces({}), rig.leases, rig.journal)
    await ratings.rated(rig.context(), TRACE, 1.0)
    await ratings.stop()
    assert rated(rig) == []


async def test_the_trace_of_a_request_that_is_compared_has_the_seal(rig, ask):
    for weight, sealed in ((5000, True), (0, False), (10_000, False)):
        rig.leases.take(grant(weight))
        ctx = rig.context()
        await (await rig.pipeline.generate(ctx, ask("plain", "hi", end_user="u"))).whole()
        assert (SEAL in ctx.attributes) == sealed
        if sealed:
            found = opened(ctx.attributes[SEAL], "s", "r1", ctx.trace_id)
            assert found == Sealed(ctx.arm, weight, ctx.unit)
