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

class CheckRequest(_message.Message):
    __slots__ = ("policy", "direction", "text")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    policy: str
    direction: Direction
    text: str
    def __init__(self, policy: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., text: _Optional[str] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("action", "text", "findings")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    action: Action
    text: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, action: _Optional[_Union[Action, str]] = ..., text: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "kind", "start", "end", "score", "action")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    check: str
    kind: str
    start: int
    end: int
    score: float
    action: Action
    def __init__(self, check: _Optional[str] = ..., kind: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., score: _Optional[float] = ..., action: _Optional[_Union[Action, str]] = ...) -> None: ...

class CheckStreamRequest(_message.Message):
    __slots__ = ("policy", "direction", "delta", "end")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    policy: str
    direction: Direction
    delta: str
    end: bool
    def __init__(self, policy: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., delta: _Optional[str] = ..., end: _Optional[bool] = ...) -> None: ...

class CheckStreamResponse(_message.Message):
    __slots__ = ("text", "findings", "action", "end")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    text: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    action: Action
    end: bool
    def __init__(self, text: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., action: _Optional[_Union[Action, str]] = ..., end: _Optional[bool] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "checks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    checks: _containers.RepeatedCompositeFieldContainer[PolicyCheck]
    def __init__(self, name: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[PolicyCheck, _Mapping]]] = ...) -> None: ...

class PolicyCheck(_message.Message):
    __slots__ = ("direction", "check", "action", "tier")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    direction: Direction
    check: str
    action: Action
    tier: int
    def __init__(self, direction: _Optional[_Union[Direction, str]] = ..., check: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., tier: _Optional[int] = ...) -> None: ...
