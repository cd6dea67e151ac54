"""RolloutService over gRPC: decode, do, encode."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from headrace_kit.config.rollout_steps import PairJudge
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.rollout.v1 import messages_pb2, service_pb2_grpc
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.domain.grants import Grant, Grants
from headrace_rollout.domain.operations import Operations
from headrace_rollout.domain.records import Record, canonical
from headrace_rollout.domain.verdicts import NUMBERS
from headrace_rollout.metrics import Metrics

_log = logging.getLogger(__name__)
FULL_NAME = "headrace.rollout.v1.RolloutService"
CALLERS = frozenset({"gateway"})


class RolloutServicer(service_pb2_grpc.RolloutServiceServicer):
    """See the proto for what each method promises."""

    def __init__(self, rpc_runtime: RpcRuntime, operations: Operations, grants: Grants, metrics: Metrics) -> None:
        self.rpc_runtime = rpc_runtime
        self._operations = operations
        self._grants = grants
        self._metrics = metrics

    @rpc(callers=CALLERS)
    async def Watch(self, request: messages_pb2.WatchRequest, call: Call) -> AsyncIterator[messages_pb2.Grant]:
        """Grants until the gateway hangs up or this process stops."""
        _log.info("watched", extra={"watcher": request.watcher[:100]})
        with self._metrics.watchers.track_inprogress():
            async for grant in self._grants.watch():
                yield _grant(grant)

    @rpc(callers=CALLERS)
    async def ListRollouts(
        self, request: messages_pb2.ListRolloutsRequest, call: Call
    ) -> messages_pb2.ListRolloutsResponse:
        """Rollouts, newest first."""
        records = await self._operations.rollouts(ended=request.all, who=call.caller)
        return messages_pb2.ListRolloutsResponse(rollouts=await self._whole(records))

    @rpc(callers=CALLERS)
    async def GetRollout(self, request: messages_pb2.GetRolloutRequest, call: Call) -> messages_pb2.Rollout:
        """One rollout."""
        record = await self._operations.get(request.id, call.caller)
        return (await self._whole([record]))[0]

    @rpc(callers=CALLERS)
    async def Start(self, request: messages_pb2.StartRequest, call: Call) -> messages_pb2.Rollout:
        """A rollout beside the config file."""
        made = await self._operations.start(request.model, request.spec_json, call.caller, queue=request.queue)
        return _rollout(made)

    @rpc(callers=CALLERS)
    async def Promote(self, request: messages_pb2.PromoteRequest, call: Call) -> messages_pb2.Rollout:
        """To 100% at once."""
        return _rollout(await self._operations.promote(request.id, call.caller))

    @rpc(callers=CALLERS)
    async def Approve(self, request: messages_pb2.ApproveRequest, call: Call) -> messages_pb2.Rollout:
        """On from a step that waits for a person."""
        return _rollout(await self._operations.approve(request.id, request.step, call.caller))

    @rpc(callers=CALLERS)
    async def Explain(self, request: messages_pb2.ExplainRequest, call: Call) -> messages_pb2.Explanation:
        """How a rollout came where it is."""
        record, story, points = await self._operations.explain(request.id, call.caller)
        told = messages_pb2.Explanation(rollout=(await self._whole([record]))[0])
        for transition in story.transitions:
            became = transition.record
            line = told.transitions.add(
                state=became.state,
                step=became.step,
                weight=became.weight,
                reason=transition.reason,
                actor=transition.actor,
            )
            line.at.FromDatetime(transition.at)
        for decision in story.decisions:
            made = told.decisions.add(step=decision.step, action=decision.action, reason=decision.reason)
            made.at.FromDatetime(decision.at)
            made.verdicts.extend(_verdict(verdict) for verdict in decision.verdicts)
        for point in points:
            known = {name: point[name] for name in NUMBERS if point.get(name) is not None}
            place = told.points.add(metric=point["metric"], state=str(point["state"]), **known)
            place.at.FromNanoseconds(int(point["at"] * 1e9))
        return told

    @rpc(callers=CALLERS)
    async def Abort(self, request: messages_pb2.AbortRequest, call: Call) -> messages_pb2.Rollout:
        """Back to the baseline."""
        return _rollout(await self._operations.abort(request.id, request.reason, call.caller))

    async def _whole(self, records: Sequence[Record]) -> list[messages_pb2.Rollout]:
        """Rollouts with what is known of them."""
        verdicts = await self._operations.verdicts(records)
        suites = await self._operations.evaluations(records)
        return [_rollout(record, verdicts.get(record.id, ()), suites.get(record.id)) for record in records]


def _grant(grant: Grant) -> messages_pb2.Grant:
    return messages_pb2.Grant(
        lease_ms=grant.lease_ms,
        version=grant.version,
        splits=[
            messages_pb2.Split(
                rollout_id=split.rollout_id,
                model=split.model,
                salt=split.salt,
                weight=split.weight,
                candidate_json=split.candidate_json,
                shadow=split.shadow,
                shadow_concurrency=split.limits.concurrency,
                shadow_nano_usd_per_hour=round(split.limits.usd_per_hour * 1e9),
                shadow_similarity=split.limits.similarity or "",
                shadow_judge=_judge(split.limits.judge),
                fresh=split.fresh,
                fresh_json=split.fresh_json,
            )
            for split in grant.splits
        ],
    )


def _judge(judge: PairJudge | None) -> messages_pb2.PairJudge | None:
    if judge is None:
        return None
    return messages_pb2.PairJudge(
        model=judge.model,
        criteria=judge.criteria,
        share=judge.share,
        nano_usd_per_hour=round(judge.usd_per_hour * 1e9),
    )


def _verdict(told: Mapping[str, Any]) -> messages_pb2.Verdict:
    return messages_pb2.Verdict(**told)


def _rollout(
    record: Record, verdicts: Iterable[Mapping[str, Any]] = (), suite: Evaluation | None = None
) -> messages_pb2.Rollout:
    made = messages_pb2.Rollout(
        id=record.id,
        model=record.model,
        state=record.state,
        step=record.step,
        steps=len(record.spec.steps),
        weight=record.weight,
        shadow=record.shadow,
        holds=record.holds,
        served_s=record.served_s,
        verdicts=[_verdict(verdict) for verdict in verdicts],
        spec_json=canonical(record.spec),
        reason=record.reason,
        source=record.source,
    )
    made.created_at.FromDatetime(record.created_at)
    made.step_started_at.FromDatetime(record.step_started_at)
    if suite is not None:
        made.evaluation.CopyFrom(
            messages_pb2.Evaluation(
                suite=suite.suite,
                step=suite.step,
                state=suite.state,
                done=suite.done,
                total=suite.total,
                why=suite.why,
                checks=[_verdict(check) for check in suite.checks],
            )
        )
    return made
