import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRequest(_message.Message):
    __slots__ = ("watcher",)
    WATCHER_FIELD_NUMBER: _ClassVar[int]
    watcher: str
    def __init__(self, watcher: _Optional[str] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("lease_ms", "splits", "version")
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    splits: _containers.RepeatedCompositeFieldContainer[Split]
    version: int
    def __init__(self, lease_ms: _Optional[int] = ..., splits: _Optional[_Iterable[_Union[Split, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("rollout_id", "model", "salt", "weight", "shadow", "candidate_json", "shadow_concurrency", "shadow_nano_usd_per_hour", "shadow_similarity", "fresh", "fresh_json", "shadow_judge")
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_JSON_FIELD_NUMBER: _ClassVar[int]
    SHADOW_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_NANO_USD_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    FRESH_JSON_FIELD_NUMBER: _ClassVar[int]
    SHADOW_JUDGE_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    model: str
    salt: str
    weight: int
    shadow: int
    candidate_json: str
    shadow_concurrency: int
    shadow_nano_usd_per_hour: int
    shadow_similarity: str
    fresh: int
    fresh_json: str
    shadow_judge: PairJudge
    def __init__(self, rollout_id: _Optional[str] = ..., model: _Optional[str] = ..., salt: _Optional[str] = ..., weight: _Optional[int] = ..., shadow: _Optional[int] = ..., candidate_json: _Optional[str] = ..., shadow_concurrency: _Optional[int] = ..., shadow_nano_usd_per_hour: _Optional[int] = ..., shadow_similarity: _Optional[str] = ..., fresh: _Optional[int] = ..., fresh_json: _Optional[str] = ..., shadow_judge: _Optional[_Union[PairJudge, _Mapping]] = ...) -> None: ...

class PairJudge(_message.Message):
    __slots__ = ("model", "criteria", "share", "nano_usd_per_hour")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CRITERIA_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    NANO_USD_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    model: str
    criteria: str
    share: int
    nano_usd_per_hour: int
    def __init__(self, model: _Optional[str] = ..., criteria: _Optional[str] = ..., share: _Optional[int] = ..., nano_usd_per_hour: _Optional[int] = ...) -> None: ...

class ListRolloutsRequest(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: _Optional[bool] = ...) -> None: ...

class ListRolloutsResponse(_message.Message):
    __slots__ = ("rollouts",)
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ...) -> None: ...

class GetRolloutRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class AbortRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("id", "step")
    ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    id: str
    step: int
    def __init__(self, id: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("model", "spec_json", "queue")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    model: str
    spec_json: str
    queue: bool
    def __init__(self, model: _Optional[str] = ..., spec_json: _Optional[str] = ..., queue: _Optional[bool] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("rollout", "transitions", "decisions", "points")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("at", "state", "step", "weight", "reason", "actor")
    AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    state: str
    step: int
    weight: int
    reason: str
    actor: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[str] = ..., step: _Optional[int] = ..., weight: _Optional[int] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("at", "step", "action", "reason", "verdicts")
    AT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    step: int
    action: str
    reason: str
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[int] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("at", "metric", "state", "estimate", "low", "high", "margin")
    AT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    metric: str
    state: str
    estimate: float
    low: float
    high: float
    margin: float
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., metric: _Optional[str] = ..., state: _Optional[str] = ..., estimate: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., margin: _Optional[float] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("metric", "state", "estimate", "low", "high", "margin", "alpha", "n_baseline", "n_candidate", "reason", "paired", "evidence")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    N_BASELINE_FIELD_NUMBER: _ClassVar[int]
    N_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PAIRED_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    state: str
    estimate: float
    low: float
    high: float
    margin: float
    alpha: float
    n_baseline: int
    n_candidate: int
    reason: str
    paired: bool
    evidence: float
    def __init__(self, metric: _Optional[str] = ..., state: _Optional[str] = ..., estimate: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., margin: _Optional[float] = ..., alpha: _Optional[float] = ..., n_baseline: _Optional[int] = ..., n_candidate: _Optional[int] = ..., reason: _Optional[str] = ..., paired: _Optional[bool] = ..., evidence: _Optional[float] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "model", "state", "step", "steps", "weight", "shadow", "spec_json", "reason", "created_at", "step_started_at", "source", "holds", "served_s", "verdicts", "evaluation")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    SERVED_S_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    state: str
    step: int
    steps: int
    weight: int
    shadow: int
    spec_json: str
    reason: str
    created_at: _timestamp_pb2.Timestamp
    step_started_at: _timestamp_pb2.Timestamp
    source: str
    holds: str
    served_s: float
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    evaluation: Evaluation
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., weight: _Optional[int] = ..., shadow: _Optional[int] = ..., spec_json: _Optional[str] = ..., reason: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step_started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., holds: _Optional[str] = ..., served_s: _Optional[float] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("suite", "step", "state", "done", "total", "why", "checks")
    SUITE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    suite: str
    step: int
    state: str
    done: int
    total: int
    why: str
    checks: _containers.RepeatedCompositeFieldContainer[Verdict]
    def __init__(self, suite: _Optional[str] = ..., step: _Optional[int] = ..., state: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., why: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ...) -> None: ...
