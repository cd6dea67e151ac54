import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetTraceRequest(_message.Message):
    __slots__ = ("trace_id", "full")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    full: bool
    def __init__(self, trace_id: _Optional[str] = ..., full: _Optional[bool] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("trace_id", "tenant", "start_time", "duration_ms", "input_tokens", "output_tokens", "cost_usd", "status", "spans", "feedback", "spans_left_out", "summary", "content", "decisions", "findings")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    SPANS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    tenant: str
    start_time: _timestamp_pb2.Timestamp
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: str
    status: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    feedback: _containers.RepeatedCompositeFieldContainer[Feedback]
    spans_left_out: int
    summary: TraceSummary
    content: Content
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, trace_id: _Optional[str] = ..., tenant: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_ms: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[str] = ..., status: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., feedback: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ..., spans_left_out: _Optional[int] = ..., summary: _Optional[_Union[TraceSummary, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("capture", "input", "output", "passages", "options_json")
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    capture: str
    input: _containers.RepeatedCompositeFieldContainer[Turn]
    output: _containers.RepeatedCompositeFieldContainer[Turn]
    passages: _containers.RepeatedCompositeFieldContainer[Passage]
    options_json: str
    def __init__(self, capture: _Optional[str] = ..., input: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., output: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., passages: _Optional[_Iterable[_Union[Passage, _Mapping]]] = ..., options_json: _Optional[str] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("role", "text", "more_json")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MORE_JSON_FIELD_NUMBER: _ClassVar[int]
    role: str
    text: str
    more_json: str
    def __init__(self, role: _Optional[str] = ..., text: _Optional[str] = ..., more_json: _Optional[str] = ...) -> None: ...

class Passage(_message.Message):
    __slots__ = ("number", "collection", "document_id", "chunk_id", "title", "text", "score", "start", "end", "page", "cited", "quotes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    CITED_FIELD_NUMBER: _ClassVar[int]
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    number: int
    collection: str
    document_id: str
    chunk_id: str
    title: str
    text: str
    score: float
    start: int
    end: int
    page: int
    cited: bool
    quotes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., collection: _Optional[str] = ..., document_id: _Optional[str] = ..., chunk_id: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., score: _Optional[float] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., page: _Optional[int] = ..., cited: _Optional[bool] = ..., quotes: _Optional[_Iterable[str]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("span_id", "stage", "attempt", "deployment", "verdict", "confidence", "signal", "moment", "reason", "error", "offset_ms", "duration_ms", "cost_usd", "input_tokens", "output_tokens")
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    span_id: str
    stage: int
    attempt: int
    deployment: str
    verdict: str
    confidence: float
    signal: str
    moment: str
    reason: str
    error: str
    offset_ms: float
    duration_ms: float
    cost_usd: str
    input_tokens: int
    output_tokens: int
    def __init__(self, span_id: _Optional[str] = ..., stage: _Optional[int] = ..., attempt: _Optional[int] = ..., deployment: _Optional[str] = ..., verdict: _Optional[str] = ..., confidence: _Optional[float] = ..., signal: _Optional[str] = ..., moment: _Optional[str] = ..., reason: _Optional[str] = ..., error: _Optional[str] = ..., offset_ms: _Optional[float] = ..., duration_ms: _Optional[float] = ..., cost_usd: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("direction", "check", "kind", "action", "count")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    direction: str
    check: str
    kind: str
    action: str
    count: int
    def __init__(self, direction: _Optional[str] = ..., check: _Optional[str] = ..., kind: _Optional[str] = ..., action: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("span_id", "parent_span_id", "service", "name", "kind", "start_time", "duration_ms", "status", "status_message", "attributes", "events", "offset_ms", "self_ms", "depth", "content", "links")
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    SELF_MS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    start_time: _timestamp_pb2.Timestamp
    duration_ms: float
    status: str
    status_message: str
    attributes: _struct_pb2.Struct
    events: _containers.RepeatedCompositeFieldContainer[SpanEvent]
    offset_ms: float
    self_ms: float
    depth: int
    content: Content
    links: _containers.RepeatedCompositeFieldContainer[SpanLink]
    def __init__(self, span_id: _Optional[str] = ..., parent_span_id: _Optional[str] = ..., service: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_ms: _Optional[float] = ..., status: _Optional[str] = ..., status_message: _Optional[str] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., events: _Optional[_Iterable[_Union[SpanEvent, _Mapping]]] = ..., offset_ms: _Optional[float] = ..., self_ms: _Optional[float] = ..., depth: _Optional[int] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., links: _Optional[_Iterable[_Union[SpanLink, _Mapping]]] = ...) -> None: ...

class SpanLink(_message.Message):
    __slots__ = ("trace_id", "span_id")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    span_id: str
    def __init__(self, trace_id: _Optional[str] = ..., span_id: _Optional[str] = ...) -> None: ...

class SpanEvent(_message.Message):
    __slots__ = ("name", "time", "attributes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    time: _timestamp_pb2.Timestamp
    attributes: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class TraceFilter(_message.Message):
    __slots__ = ("to", "tenant", "model", "deployment", "arm", "status", "operation", "cache", "session", "user", "collection", "config_hash", "error", "rollout", "key_id", "provider", "service", "min_duration_ms", "max_duration_ms", "min_cost_usd", "max_cost_usd", "min_feedback", "max_feedback", "label", "guard_finding", "text", "escalated")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MIN_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    MAX_FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    GUARD_FINDING_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    to: _timestamp_pb2.Timestamp
    tenant: str
    model: str
    deployment: str
    arm: str
    status: str
    operation: str
    cache: str
    session: str
    user: str
    collection: str
    config_hash: str
    error: str
    rollout: str
    key_id: str
    provider: str
    service: str
    min_duration_ms: float
    max_duration_ms: float
    min_cost_usd: str
    max_cost_usd: str
    min_feedback: float
    max_feedback: float
    label: str
    guard_finding: str
    text: str
    escalated: bool
    def __init__(self, to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tenant: _Optional[str] = ..., model: _Optional[str] = ..., deployment: _Optional[str] = ..., arm: _Optional[str] = ..., status: _Optional[str] = ..., operation: _Optional[str] = ..., cache: _Optional[str] = ..., session: _Optional[str] = ..., user: _Optional[str] = ..., collection: _Optional[str] = ..., config_hash: _Optional[str] = ..., error: _Optional[str] = ..., rollout: _Optional[str] = ..., key_id: _Optional[str] = ..., provider: _Optional[str] = ..., service: _Optional[str] = ..., min_duration_ms: _Optional[float] = ..., max_duration_ms: _Optional[float] = ..., min_cost_usd: _Optional[str] = ..., max_cost_usd: _Optional[str] = ..., min_feedback: _Optional[float] = ..., max_feedback: _Optional[float] = ..., label: _Optional[str] = ..., guard_finding: _Optional[str] = ..., text: _Optional[str] = ..., escalated: _Optional[bool] = ..., **kwargs) -> None: ...

class ListTracesRequest(_message.Message):
    __slots__ = ("limit", "page_token", "filter")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    limit: int
    page_token: str
    filter: TraceFilter
    def __init__(self, limit: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[TraceFilter, _Mapping]] = ...) -> None: ...

class ListTracesResponse(_message.Message):
    __slots__ = ("traces", "next_page_token")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[TraceSummary]
    next_page_token: str
    def __init__(self, traces: _Optional[_Iterable[_Union[TraceSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class TraceSummary(_message.Message):
    __slots__ = ("trace_id", "tenant", "name", "model", "start_time", "duration_ms", "input_tokens", "output_tokens", "cost_usd", "status", "spans", "deployment", "arm", "operation", "provider", "cache", "error", "session", "user", "key_id", "config_hash", "rollout", "ttft_ms", "tpot_ms", "stages", "attempts", "findings", "collections", "feedback", "feedback_count", "question", "capture", "spans_thinned", "saved")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    TPOT_MS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    SPANS_THINNED_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    tenant: str
    name: str
    model: str
    start_time: _timestamp_pb2.Timestamp
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: str
    status: str
    spans: int
    deployment: str
    arm: str
    operation: str
    provider: str
    cache: str
    error: str
    session: str
    user: str
    key_id: str
    config_hash: str
    rollout: str
    ttft_ms: float
    tpot_ms: float
    stages: int
    attempts: int
    findings: _containers.RepeatedScalarFieldContainer[str]
    collections: _containers.RepeatedScalarFieldContainer[str]
    feedback: float
    feedback_count: int
    question: str
    capture: str
    spans_thinned: int
    saved: bool
    def __init__(self, trace_id: _Optional[str] = ..., tenant: _Optional[str] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_ms: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[str] = ..., status: _Optional[str] = ..., spans: _Optional[int] = ..., deployment: _Optional[str] = ..., arm: _Optional[str] = ..., operation: _Optional[str] = ..., provider: _Optional[str] = ..., cache: _Optional[str] = ..., error: _Optional[str] = ..., session: _Optional[str] = ..., user: _Optional[str] = ..., key_id: _Optional[str] = ..., config_hash: _Optional[str] = ..., rollout: _Optional[str] = ..., ttft_ms: _Optional[float] = ..., tpot_ms: _Optional[float] = ..., stages: _Optional[int] = ..., attempts: _Optional[int] = ..., findings: _Optional[_Iterable[str]] = ..., collections: _Optional[_Iterable[str]] = ..., feedback: _Optional[float] = ..., feedback_count: _Optional[int] = ..., question: _Optional[str] = ..., capture: _Optional[str] = ..., spans_thinned: _Optional[int] = ..., saved: _Optional[bool] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("limit", "page_token", "filter")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    limit: int
    page_token: str
    filter: TraceFilter
    def __init__(self, limit: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[TraceFilter, _Mapping]] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session", "tenant", "start_time", "end_time", "traces", "errors", "input_tokens", "output_tokens", "cost_usd", "feedback", "question", "user", "models")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    session: str
    tenant: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    traces: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    feedback: float
    question: str
    user: str
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: _Optional[str] = ..., tenant: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traces: _Optional[int] = ..., errors: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[str] = ..., feedback: _Optional[float] = ..., question: _Optional[str] = ..., user: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class AggregateRequest(_message.Message):
    __slots__ = ("filter", "group_by", "bucket_s", "limit")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    BUCKET_S_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    filter: TraceFilter
    group_by: _containers.RepeatedScalarFieldContainer[str]
    bucket_s: int
    limit: int
    def __init__(self, filter: _Optional[_Union[TraceFilter, _Mapping]] = ..., group_by: _Optional[_Iterable[str]] = ..., bucket_s: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class AggregateResponse(_message.Message):
    __slots__ = ("rows", "to", "more")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[AggregateRow]
    to: _timestamp_pb2.Timestamp
    more: bool
    def __init__(self, rows: _Optional[_Iterable[_Union[AggregateRow, _Mapping]]] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., more: _Optional[bool] = ..., **kwargs) -> None: ...

class AggregateRow(_message.Message):
    __slots__ = ("group", "time", "measures")
    class GroupEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    group: _containers.ScalarMap[str, str]
    time: _timestamp_pb2.Timestamp
    measures: Measures
    def __init__(self, group: _Optional[_Mapping[str, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., measures: _Optional[_Union[Measures, _Mapping]] = ...) -> None: ...

class Measures(_message.Message):
    __slots__ = ("requests", "errors", "error_rate", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "ttft_ms", "tpot_ms", "cache_hit_rate", "escalation_rate", "flagged", "feedback", "feedback_count", "cache_hits", "escalated")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    TPOT_MS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    ESCALATION_RATE_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    requests: int
    errors: int
    error_rate: float
    input_tokens: int
    output_tokens: int
    cost_usd: str
    duration_ms: Percentiles
    ttft_ms: Percentiles
    tpot_ms: Percentiles
    cache_hit_rate: float
    escalation_rate: float
    flagged: int
    feedback: float
    feedback_count: int
    cache_hits: int
    escalated: int
    def __init__(self, requests: _Optional[int] = ..., errors: _Optional[int] = ..., error_rate: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[str] = ..., duration_ms: _Optional[_Union[Percentiles, _Mapping]] = ..., ttft_ms: _Optional[_Union[Percentiles, _Mapping]] = ..., tpot_ms: _Optional[_Union[Percentiles, _Mapping]] = ..., cache_hit_rate: _Optional[float] = ..., escalation_rate: _Optional[float] = ..., flagged: _Optional[int] = ..., feedback: _Optional[float] = ..., feedback_count: _Optional[int] = ..., cache_hits: _Optional[int] = ..., escalated: _Optional[int] = ...) -> None: ...

class Percentiles(_message.Message):
    __slots__ = ("p50", "p95", "p99")
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    p50: float
    p95: float
    p99: float
    def __init__(self, p50: _Optional[float] = ..., p95: _Optional[float] = ..., p99: _Optional[float] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("filter", "a", "b")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    filter: TraceFilter
    a: TraceFilter
    b: TraceFilter
    def __init__(self, filter: _Optional[_Union[TraceFilter, _Mapping]] = ..., a: _Optional[_Union[TraceFilter, _Mapping]] = ..., b: _Optional[_Union[TraceFilter, _Mapping]] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("a", "b", "differences")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    a: Measures
    b: Measures
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    def __init__(self, a: _Optional[_Union[Measures, _Mapping]] = ..., b: _Optional[_Union[Measures, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("measure", "a", "b", "change", "p_value")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    measure: str
    a: float
    b: float
    change: float
    p_value: float
    def __init__(self, measure: _Optional[str] = ..., a: _Optional[float] = ..., b: _Optional[float] = ..., change: _Optional[float] = ..., p_value: _Optional[float] = ...) -> None: ...

class AddFeedbackRequest(_message.Message):
    __slots__ = ("trace_id", "span_id", "score", "label", "comment", "correction", "final_text")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    FINAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    span_id: str
    score: float
    label: str
    comment: str
    correction: str
    final_text: str
    def __init__(self, trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., score: _Optional[float] = ..., label: _Optional[str] = ..., comment: _Optional[str] = ..., correction: _Optional[str] = ..., final_text: _Optional[str] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("id", "span_id", "score", "label", "comment", "created_at", "correction", "source", "user")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    id: str
    span_id: str
    score: float
    label: str
    comment: str
    created_at: _timestamp_pb2.Timestamp
    correction: str
    source: str
    user: str
    def __init__(self, id: _Optional[str] = ..., span_id: _Optional[str] = ..., score: _Optional[float] = ..., label: _Optional[str] = ..., comment: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., correction: _Optional[str] = ..., source: _Optional[str] = ..., user: _Optional[str] = ...) -> None: ...

class ExportSpansRequest(_message.Message):
    __slots__ = ("body", "content_type", "content_encoding")
    BODY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_ENCODING_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    content_type: str
    content_encoding: str
    def __init__(self, body: _Optional[bytes] = ..., content_type: _Optional[str] = ..., content_encoding: _Optional[str] = ...) -> None: ...

class ExportSpansResponse(_message.Message):
    __slots__ = ("rejected", "message")
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    rejected: int
    message: str
    def __init__(self, rejected: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class GetDriftRequest(_message.Message):
    __slots__ = ("tenant", "model", "collection", "feature", "day", "days", "reference_from", "reference_to", "drifted", "limit")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FROM_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_TO_FIELD_NUMBER: _ClassVar[int]
    DRIFTED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    collection: str
    feature: str
    day: str
    days: int
    reference_from: str
    reference_to: str
    drifted: bool
    limit: int
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., collection: _Optional[str] = ..., feature: _Optional[str] = ..., day: _Optional[str] = ..., days: _Optional[int] = ..., reference_from: _Optional[str] = ..., reference_to: _Optional[str] = ..., drifted: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class GetDriftResponse(_message.Message):
    __slots__ = ("drifts", "tests", "to", "reference_from", "reference_to", "more")
    DRIFTS_FIELD_NUMBER: _ClassVar[int]
    TESTS_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FROM_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_TO_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    drifts: _containers.RepeatedCompositeFieldContainer[Drift]
    tests: int
    to: str
    reference_from: str
    reference_to: str
    more: bool
    def __init__(self, drifts: _Optional[_Iterable[_Union[Drift, _Mapping]]] = ..., tests: _Optional[int] = ..., to: _Optional[str] = ..., reference_from: _Optional[str] = ..., reference_to: _Optional[str] = ..., more: _Optional[bool] = ..., **kwargs) -> None: ...

class Drift(_message.Message):
    __slots__ = ("tenant", "model", "collection", "feature", "drifted", "psi", "test", "p_value", "q_value", "count", "reference_count", "bins", "days")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    DRIFTED_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    Q_VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    collection: str
    feature: str
    drifted: bool
    psi: float
    test: str
    p_value: float
    q_value: float
    count: int
    reference_count: int
    bins: _containers.RepeatedCompositeFieldContainer[DriftBin]
    days: _containers.RepeatedCompositeFieldContainer[DriftDay]
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., collection: _Optional[str] = ..., feature: _Optional[str] = ..., drifted: _Optional[bool] = ..., psi: _Optional[float] = ..., test: _Optional[str] = ..., p_value: _Optional[float] = ..., q_value: _Optional[float] = ..., count: _Optional[int] = ..., reference_count: _Optional[int] = ..., bins: _Optional[_Iterable[_Union[DriftBin, _Mapping]]] = ..., days: _Optional[_Iterable[_Union[DriftDay, _Mapping]]] = ...) -> None: ...

class DriftBin(_message.Message):
    __slots__ = ("name", "count", "reference_count", "to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    reference_count: int
    to: float
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., reference_count: _Optional[int] = ..., to: _Optional[float] = ..., **kwargs) -> None: ...

class DriftDay(_message.Message):
    __slots__ = ("day", "count", "psi")
    DAY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    day: str
    count: int
    psi: float
    def __init__(self, day: _Optional[str] = ..., count: _Optional[int] = ..., psi: _Optional[float] = ...) -> None: ...

class KeepTraceRequest(_message.Message):
    __slots__ = ("trace_id",)
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    def __init__(self, trace_id: _Optional[str] = ...) -> None: ...

class EraseTracesRequest(_message.Message):
    __slots__ = ("tenant", "user")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    user: str
    def __init__(self, tenant: _Optional[str] = ..., user: _Optional[str] = ...) -> None: ...

class EraseTracesResponse(_message.Message):
    __slots__ = ("traces", "feedback")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    traces: int
    feedback: int
    def __init__(self, traces: _Optional[int] = ..., feedback: _Optional[int] = ...) -> None: ...
