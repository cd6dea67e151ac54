import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_INPUT: _ClassVar[Direction]
    DIRECTION_RETRIEVED: _ClassVar[Direction]
    DIRECTION_TOOL_CALL: _ClassVar[Direction]
    DIRECTION_TOOL_RESULT: _ClassVar[Direction]
    DIRECTION_OUTPUT: _ClassVar[Direction]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_ALLOW: _ClassVar[Action]
    ACTION_FLAG: _ClassVar[Action]
    ACTION_MASK: _ClassVar[Action]
    ACTION_REWRITE: _ClassVar[Action]
    ACTION_BLOCK: _ClassVar[Action]
    ACTION_ESCALATE: _ClassVar[Action]

class ReviewState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVIEW_STATE_UNSPECIFIED: _ClassVar[ReviewState]
    REVIEW_STATE_OPEN: _ClassVar[ReviewState]
    REVIEW_STATE_CLAIMED: _ClassVar[ReviewState]
    REVIEW_STATE_APPROVED: _ClassVar[ReviewState]
    REVIEW_STATE_REJECTED: _ClassVar[ReviewState]
    REVIEW_STATE_EXPIRED: _ClassVar[ReviewState]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_INPUT: Direction
DIRECTION_RETRIEVED: Direction
DIRECTION_TOOL_CALL: Direction
DIRECTION_TOOL_RESULT: Direction
DIRECTION_OUTPUT: Direction
ACTION_UNSPECIFIED: Action
ACTION_ALLOW: Action
ACTION_FLAG: Action
ACTION_MASK: Action
ACTION_REWRITE: Action
ACTION_BLOCK: Action
ACTION_ESCALATE: Action
REVIEW_STATE_UNSPECIFIED: ReviewState
REVIEW_STATE_OPEN: ReviewState
REVIEW_STATE_CLAIMED: ReviewState
REVIEW_STATE_APPROVED: ReviewState
REVIEW_STATE_REJECTED: ReviewState
REVIEW_STATE_EXPIRED: ReviewState

class CheckRequest(_message.Message):
    __slots__ = ("policy", "direction", "text", "from_tier", "conversation_id", "context", "trace_id", "also")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FROM_TIER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    ALSO_FIELD_NUMBER: _ClassVar[int]
    policy: str
    direction: Direction
    text: str
    from_tier: int
    conversation_id: str
    context: str
    trace_id: str
    also: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, policy: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., text: _Optional[str] = ..., from_tier: _Optional[int] = ..., conversation_id: _Optional[str] = ..., context: _Optional[str] = ..., trace_id: _Optional[str] = ..., also: _Optional[_Iterable[str]] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("action", "text", "findings", "review_id", "version", "would", "shadow", "failures", "release")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WOULD_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    action: Action
    text: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    review_id: str
    version: str
    would: Action
    shadow: bool
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    release: str
    def __init__(self, action: _Optional[_Union[Action, str]] = ..., text: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., review_id: _Optional[str] = ..., version: _Optional[str] = ..., would: _Optional[_Union[Action, str]] = ..., shadow: _Optional[bool] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., release: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("check", "reason", "closed")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    check: str
    reason: str
    closed: bool
    def __init__(self, check: _Optional[str] = ..., reason: _Optional[str] = ..., closed: _Optional[bool] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "kind", "start", "end", "score", "action", "version")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    check: str
    kind: str
    start: int
    end: int
    score: float
    action: Action
    version: str
    def __init__(self, check: _Optional[str] = ..., kind: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., score: _Optional[float] = ..., action: _Optional[_Union[Action, str]] = ..., version: _Optional[str] = ...) -> None: ...

class CheckStreamRequest(_message.Message):
    __slots__ = ("policy", "direction", "delta", "end", "from_tier", "conversation_id", "trace_id")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    FROM_TIER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    policy: str
    direction: Direction
    delta: str
    end: bool
    from_tier: int
    conversation_id: str
    trace_id: str
    def __init__(self, policy: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., delta: _Optional[str] = ..., end: _Optional[bool] = ..., from_tier: _Optional[int] = ..., conversation_id: _Optional[str] = ..., trace_id: _Optional[str] = ...) -> None: ...

class CheckStreamResponse(_message.Message):
    __slots__ = ("text", "findings", "action", "end", "review_id", "failures", "would", "shadow")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    WOULD_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    text: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    action: Action
    end: bool
    review_id: str
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    would: Action
    shadow: bool
    def __init__(self, text: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., action: _Optional[_Union[Action, str]] = ..., end: _Optional[bool] = ..., review_id: _Optional[str] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., would: _Optional[_Union[Action, str]] = ..., shadow: _Optional[bool] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "checks", "version", "shadow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    checks: _containers.RepeatedCompositeFieldContainer[PolicyCheck]
    version: str
    shadow: bool
    def __init__(self, name: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[PolicyCheck, _Mapping]]] = ..., version: _Optional[str] = ..., shadow: _Optional[bool] = ...) -> None: ...

class PolicyCheck(_message.Message):
    __slots__ = ("direction", "check", "action", "tier", "threshold", "timeout_ms", "closed_on_failure")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    direction: Direction
    check: str
    action: Action
    tier: int
    threshold: float
    timeout_ms: int
    closed_on_failure: bool
    def __init__(self, direction: _Optional[_Union[Direction, str]] = ..., check: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., tier: _Optional[int] = ..., threshold: _Optional[float] = ..., timeout_ms: _Optional[int] = ..., closed_on_failure: _Optional[bool] = ...) -> None: ...

class UnmaskRequest(_message.Message):
    __slots__ = ("conversation_id", "text")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    text: str
    def __init__(self, conversation_id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class UnmaskResponse(_message.Message):
    __slots__ = ("text", "restored")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    text: str
    restored: int
    def __init__(self, text: _Optional[str] = ..., restored: _Optional[int] = ...) -> None: ...

class Review(_message.Message):
    __slots__ = ("id", "state", "tenant", "user", "policy", "version", "direction", "findings", "trace_id", "created_at", "expires_at", "claimed_by", "claimed_until", "decided_by", "decided_at", "reason", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_BY_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: ReviewState
    tenant: str
    user: str
    policy: str
    version: str
    direction: Direction
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    trace_id: str
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    claimed_by: str
    claimed_until: _timestamp_pb2.Timestamp
    decided_by: str
    decided_at: _timestamp_pb2.Timestamp
    reason: str
    text: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[ReviewState, str]] = ..., tenant: _Optional[str] = ..., user: _Optional[str] = ..., policy: _Optional[str] = ..., version: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., trace_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., claimed_by: _Optional[str] = ..., claimed_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_by: _Optional[str] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class ListReviewsRequest(_message.Message):
    __slots__ = ("state", "policy", "limit", "page_token", "tenant")
    STATE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    state: ReviewState
    policy: str
    limit: int
    page_token: str
    tenant: str
    def __init__(self, state: _Optional[_Union[ReviewState, str]] = ..., policy: _Optional[str] = ..., limit: _Optional[int] = ..., page_token: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class ListReviewsResponse(_message.Message):
    __slots__ = ("reviews", "next_page_token")
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    next_page_token: str
    def __init__(self, reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetReviewRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ClaimReviewRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DecideReviewRequest(_message.Message):
    __slots__ = ("id", "approve", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    APPROVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    approve: bool
    reason: str
    def __init__(self, id: _Optional[str] = ..., approve: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseReviewRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ReleaseReviewResponse(_message.Message):
    __slots__ = ("id", "policy", "direction", "text", "expires_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    policy: str
    direction: Direction
    text: str
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., policy: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., text: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("policy", "version", "direction", "action", "shadow", "findings", "tenant", "user", "request_id", "trace_id", "at", "failures", "id")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    policy: str
    version: str
    direction: Direction
    action: Action
    shadow: bool
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    tenant: str
    user: str
    request_id: str
    trace_id: str
    at: _timestamp_pb2.Timestamp
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    id: str
    def __init__(self, policy: _Optional[str] = ..., version: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., action: _Optional[_Union[Action, str]] = ..., shadow: _Optional[bool] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., tenant: _Optional[str] = ..., user: _Optional[str] = ..., request_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., id: _Optional[str] = ...) -> None: ...

class RecordDecisionsRequest(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class RecordDecisionsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyAuditRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyAuditResponse(_message.Message):
    __slots__ = ("intact", "entries", "broken_at", "reason", "head")
    INTACT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BROKEN_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    intact: bool
    entries: int
    broken_at: int
    reason: str
    head: str
    def __init__(self, intact: _Optional[bool] = ..., entries: _Optional[int] = ..., broken_at: _Optional[int] = ..., reason: _Optional[str] = ..., head: _Optional[str] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("policy", "to", "shadow")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    policy: str
    to: _timestamp_pb2.Timestamp
    shadow: bool
    def __init__(self, policy: _Optional[str] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shadow: _Optional[bool] = ..., **kwargs) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[ReportRow]
    def __init__(self, rows: _Optional[_Iterable[_Union[ReportRow, _Mapping]]] = ...) -> None: ...

class ReportRow(_message.Message):
    __slots__ = ("policy", "version", "direction", "check", "kind", "action", "shadow", "decisions")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    version: str
    direction: Direction
    check: str
    kind: str
    action: Action
    shadow: bool
    decisions: int
    def __init__(self, policy: _Optional[str] = ..., version: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., check: _Optional[str] = ..., kind: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., shadow: _Optional[bool] = ..., decisions: _Optional[int] = ...) -> None: ...
