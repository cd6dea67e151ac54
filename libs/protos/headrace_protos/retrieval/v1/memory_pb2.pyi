import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_protos.common.v1 import chat_pb2 as _chat_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Fact(_message.Message):
    __slots__ = ("id", "text", "metadata", "expires_at", "searchable", "updated_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    metadata: _struct_pb2.Struct
    expires_at: _timestamp_pb2.Timestamp
    searchable: bool
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., searchable: _Optional[bool] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetMemoryRequest(_message.Message):
    __slots__ = ("collection", "user")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("collection", "user", "consent", "consent_at", "facts", "conversations")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_AT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    consent: bool
    consent_at: _timestamp_pb2.Timestamp
    facts: int
    conversations: int
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., consent: _Optional[bool] = ..., consent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., facts: _Optional[int] = ..., conversations: _Optional[int] = ...) -> None: ...

class SetConsentRequest(_message.Message):
    __slots__ = ("collection", "user", "granted")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    granted: bool
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., granted: _Optional[bool] = ...) -> None: ...

class StoreFactsRequest(_message.Message):
    __slots__ = ("collection", "user", "facts", "wait")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    wait: bool
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ..., wait: _Optional[bool] = ...) -> None: ...

class StoreFactsResponse(_message.Message):
    __slots__ = ("job", "ids")
    JOB_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListFactsRequest(_message.Message):
    __slots__ = ("collection", "user", "limit", "after")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    limit: int
    after: str
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListFactsResponse(_message.Message):
    __slots__ = ("facts",)
    FACTS_FIELD_NUMBER: _ClassVar[int]
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    def __init__(self, facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ...) -> None: ...

class DeleteFactRequest(_message.Message):
    __slots__ = ("collection", "user", "id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    id: str
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class DeleteFactResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SearchMemoryRequest(_message.Message):
    __slots__ = ("collection", "user", "query", "top_k", "filter", "rerank")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    query: str
    top_k: int
    filter: _struct_pb2.Struct
    rerank: bool
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., filter: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., rerank: _Optional[bool] = ...) -> None: ...

class SearchMemoryResponse(_message.Message):
    __slots__ = ("facts",)
    FACTS_FIELD_NUMBER: _ClassVar[int]
    facts: _containers.RepeatedCompositeFieldContainer[RecalledFact]
    def __init__(self, facts: _Optional[_Iterable[_Union[RecalledFact, _Mapping]]] = ...) -> None: ...

class RecalledFact(_message.Message):
    __slots__ = ("id", "text", "metadata", "score")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    metadata: _struct_pb2.Struct
    score: float
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class Said(_message.Message):
    __slots__ = ("role", "text", "number", "at")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    role: str
    text: str
    number: int
    at: _timestamp_pb2.Timestamp
    def __init__(self, role: _Optional[str] = ..., text: _Optional[str] = ..., number: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AppendTurnsRequest(_message.Message):
    __slots__ = ("collection", "user", "conversation", "turns")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    conversation: str
    turns: _containers.RepeatedCompositeFieldContainer[Said]
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., conversation: _Optional[str] = ..., turns: _Optional[_Iterable[_Union[Said, _Mapping]]] = ...) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ("collection", "user", "conversation", "max_tokens")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    conversation: str
    max_tokens: int
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., conversation: _Optional[str] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("id", "summary", "turns", "tokens", "length", "summarised", "left_out", "updated_at", "summing")
    ID_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    SUMMARISED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    SUMMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    summary: str
    turns: _containers.RepeatedCompositeFieldContainer[Said]
    tokens: int
    length: int
    summarised: int
    left_out: int
    updated_at: _timestamp_pb2.Timestamp
    summing: _chat_pb2.Usage
    def __init__(self, id: _Optional[str] = ..., summary: _Optional[str] = ..., turns: _Optional[_Iterable[_Union[Said, _Mapping]]] = ..., tokens: _Optional[int] = ..., length: _Optional[int] = ..., summarised: _Optional[int] = ..., left_out: _Optional[int] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., summing: _Optional[_Union[_chat_pb2.Usage, _Mapping]] = ...) -> None: ...

class ListConversationsRequest(_message.Message):
    __slots__ = ("collection", "user", "limit", "after")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    limit: int
    after: str
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListConversationsResponse(_message.Message):
    __slots__ = ("conversations",)
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[Conversation]
    def __init__(self, conversations: _Optional[_Iterable[_Union[Conversation, _Mapping]]] = ...) -> None: ...

class DeleteConversationRequest(_message.Message):
    __slots__ = ("collection", "user", "conversation")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    user: str
    conversation: str
    def __init__(self, collection: _Optional[str] = ..., user: _Optional[str] = ..., conversation: _Optional[str] = ...) -> None: ...

class DeleteConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EraseMemoryRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class EraseMemoryResponse(_message.Message):
    __slots__ = ("facts", "conversations", "turns", "consents", "left", "traces", "feedback")
    FACTS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    CONSENTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    facts: int
    conversations: int
    turns: int
    consents: int
    left: int
    traces: int
    feedback: int
    def __init__(self, facts: _Optional[int] = ..., conversations: _Optional[int] = ..., turns: _Optional[int] = ..., consents: _Optional[int] = ..., left: _Optional[int] = ..., traces: _Optional[int] = ..., feedback: _Optional[int] = ...) -> None: ...
