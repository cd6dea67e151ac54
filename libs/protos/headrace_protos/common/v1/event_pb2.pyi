import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_protos.common.v1 import chat_pb2 as _chat_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RequestEvent(_message.Message):
    __slots__ = ("kind", "log_id", "sequence", "time", "request_id", "stage", "attempt", "tenant", "key_id", "unit", "model", "deployment", "rollout_id", "arm", "shadow", "config_hash", "trace_id", "operation", "usage", "cost_nano_usd", "cache", "finish_reason", "error_code", "verdict", "confidence", "started_us", "first_token_us", "ended_us", "guard_findings", "reserved_output_tokens", "price_version", "saved_nano_usd", "budget_day", "budget_holder", "reason", "continued_tokens", "failure", "segment", "streamed", "pairs", "weight", "scores", "track", "release")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[RequestEvent.Kind]
        KIND_OPENED: _ClassVar[RequestEvent.Kind]
        KIND_CLOSED: _ClassVar[RequestEvent.Kind]
        KIND_FINISHED: _ClassVar[RequestEvent.Kind]
        KIND_RATED: _ClassVar[RequestEvent.Kind]
    KIND_UNSPECIFIED: RequestEvent.Kind
    KIND_OPENED: RequestEvent.Kind
    KIND_CLOSED: RequestEvent.Kind
    KIND_FINISHED: RequestEvent.Kind
    KIND_RATED: RequestEvent.Kind
    class SegmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    STARTED_US_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_US_FIELD_NUMBER: _ClassVar[int]
    ENDED_US_FIELD_NUMBER: _ClassVar[int]
    GUARD_FINDINGS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    BUDGET_DAY_FIELD_NUMBER: _ClassVar[int]
    BUDGET_HOLDER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONTINUED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    STREAMED_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TRACK_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    kind: RequestEvent.Kind
    log_id: str
    sequence: int
    time: _timestamp_pb2.Timestamp
    request_id: str
    stage: int
    attempt: int
    tenant: str
    key_id: str
    unit: str
    model: str
    deployment: str
    rollout_id: str
    arm: str
    shadow: bool
    config_hash: str
    trace_id: str
    operation: str
    usage: _chat_pb2.Usage
    cost_nano_usd: int
    cache: str
    finish_reason: str
    error_code: str
    verdict: str
    confidence: float
    started_us: int
    first_token_us: int
    ended_us: int
    guard_findings: _containers.RepeatedScalarFieldContainer[str]
    reserved_output_tokens: int
    price_version: str
    saved_nano_usd: int
    budget_day: int
    budget_holder: str
    reason: str
    continued_tokens: int
    failure: str
    segment: _containers.ScalarMap[str, str]
    streamed: bool
    pairs: _containers.RepeatedCompositeFieldContainer[PairedScore]
    weight: int
    scores: _containers.ScalarMap[str, float]
    track: str
    release: str
    def __init__(self, kind: _Optional[_Union[RequestEvent.Kind, str]] = ..., log_id: _Optional[str] = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., stage: _Optional[int] = ..., attempt: _Optional[int] = ..., tenant: _Optional[str] = ..., key_id: _Optional[str] = ..., unit: _Optional[str] = ..., model: _Optional[str] = ..., deployment: _Optional[str] = ..., rollout_id: _Optional[str] = ..., arm: _Optional[str] = ..., shadow: _Optional[bool] = ..., config_hash: _Optional[str] = ..., trace_id: _Optional[str] = ..., operation: _Optional[str] = ..., usage: _Optional[_Union[_chat_pb2.Usage, _Mapping]] = ..., cost_nano_usd: _Optional[int] = ..., cache: _Optional[str] = ..., finish_reason: _Optional[str] = ..., error_code: _Optional[str] = ..., verdict: _Optional[str] = ..., confidence: _Optional[float] = ..., started_us: _Optional[int] = ..., first_token_us: _Optional[int] = ..., ended_us: _Optional[int] = ..., guard_findings: _Optional[_Iterable[str]] = ..., reserved_output_tokens: _Optional[int] = ..., price_version: _Optional[str] = ..., saved_nano_usd: _Optional[int] = ..., budget_day: _Optional[int] = ..., budget_holder: _Optional[str] = ..., reason: _Optional[str] = ..., continued_tokens: _Optional[int] = ..., failure: _Optional[str] = ..., segment: _Optional[_Mapping[str, str]] = ..., streamed: _Optional[bool] = ..., pairs: _Optional[_Iterable[_Union[PairedScore, _Mapping]]] = ..., weight: _Optional[int] = ..., scores: _Optional[_Mapping[str, float]] = ..., track: _Optional[str] = ..., release: _Optional[str] = ...) -> None: ...

class PairedScore(_message.Message):
    __slots__ = ("metric", "baseline", "candidate", "failed")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    metric: str
    baseline: float
    candidate: float
    failed: bool
    def __init__(self, metric: _Optional[str] = ..., baseline: _Optional[float] = ..., candidate: _Optional[float] = ..., failed: _Optional[bool] = ...) -> None: ...

class RequestEvents(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[RequestEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[RequestEvent, _Mapping]]] = ...) -> None: ...
