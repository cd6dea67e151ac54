from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("service", "version", "config_hashes", "ready", "notes", "uptime_s")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASHES_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    service: str
    version: str
    config_hashes: _containers.RepeatedScalarFieldContainer[str]
    ready: bool
    notes: _containers.RepeatedScalarFieldContainer[str]
    uptime_s: float
    def __init__(self, service: _Optional[str] = ..., version: _Optional[str] = ..., config_hashes: _Optional[_Iterable[str]] = ..., ready: _Optional[bool] = ..., notes: _Optional[_Iterable[str]] = ..., uptime_s: _Optional[float] = ...) -> None: ...
