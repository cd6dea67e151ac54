"""Protos to the domain and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import json_format, struct_pb2, timestamp_pb2

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc import Call
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_retrieval.domain.documents import check
from headrace_retrieval.domain.files import File, Part, Target
from headrace_retrieval.domain.model import MEMORY, Collection, DocumentInfo, Hit, NewDocument
from headrace_retrieval.domain.ordering import Freshness
from headrace_retrieval.domain.rewriting import Rewrite, Turn
from headrace_retrieval.domain.rights import ASSERT_IDENTITY, READ_ALL, Acl, Caller
from headrace_retrieval.domain.spending import Tokens

CALLERS = frozenset({"gateway"})
"""Services that may call."""


def freshness_of(request: pb.SearchRequest) -> Freshness | None:
    """Freshness, where it was asked for."""
    if not request.HasField("freshness"):
        return None
    return Freshness(request.freshness.field, request.freshness.half_life_s)


def rewrite_of(request: pb.SearchRequest) -> Rewrite:
    """How a query is to be rewritten."""
    asked = request.rewrite
    turns = tuple(Turn(turn.role, turn.text) for turn in asked.turns)
    return Rewrite(asked.condense, asked.wordings, asked.hypothetical, turns)


def caller_of(call: Call) -> Caller:
    """For whom a call is. Raises Forbidden, BadInput."""
    identity = call.caller
    if not identity.tenant:
        raise Forbidden("documents belong to tenants: call on behalf of one")
    if any("\0" in name for name in (identity.user, *identity.groups)):
        raise BadInput("users and groups have no NUL characters in their names", param="headrace.user")
    scopes = identity.scopes
    return Caller(identity.tenant, identity.user, tuple(identity.groups), READ_ALL in scopes, ASSERT_IDENTITY in scopes)


def documents_of(sent: Sequence[pb.Document], collection: Collection) -> list[NewDocument]:
    """Documents as they were sent, checked. Raises BadInput."""
    return [
        check(
            id=document.id,
            text=document.text,
            title=document.title,
            content_type=document.content_type,
            metadata=plain(document.metadata),
            acl=acl_of(document),
            acl_required=collection.spec.acl_required,
            param=f"documents[{position}]",
        )
        for position, document in enumerate(sent)
    ]


async def parts_of(sent: AsyncIterator[pb.IngestFilesRequest]) -> AsyncIterator[Part]:
    """An upload's parts."""
    async for message in sent:
        match message.WhichOneof("part"):
            case "target":
                yield Target(message.target.collection, message.target.wait)
            case "file":
                one = message.file
                yield File(one.id, one.name, one.title, one.content_type, plain(one.metadata), acl_of(one), b"")
            case "data":
                yield message.data
            case _:
                raise BadInput("a part is a target, a file or data", param="part")


def acl_of(document: pb.Document | pb.FileHeader) -> Acl | None:
    """An ACL, where one was sent."""
    if not document.HasField("acl"):
        return None
    return Acl(tuple(document.acl.users), tuple(document.acl.groups), document.acl.public)


def shown_acl(acl: Acl | None) -> pb.Acl | None:
    """An ACL for the answer."""
    return None if acl is None else pb.Acl(users=acl.users, groups=acl.groups, public=acl.public)


def shown_collection(collection: Collection) -> pb.Collection:
    """A collection for the answer."""
    spec = collection.spec
    return pb.Collection(
        name=spec.name,
        tenant=spec.tenant,
        embedding=spec.index.embedding,
        acl=pb.ACL_MODE_REQUIRED if spec.acl_required else pb.ACL_MODE_NONE,
        shared_with=spec.shared_with,
        epoch=collection.epoch,
        created_at=time_of(collection.created_at),
        kind=pb.COLLECTION_KIND_MEMORY if spec.kind == MEMORY else pb.COLLECTION_KIND_DOCUMENTS,
    )


def usage_of(tokens: Tokens) -> Usage | None:
    """Tokens for the answer, where there are some."""
    if not tokens:
        return None
    return Usage(input_tokens=tokens.inputs, cached_input_tokens=tokens.cached, output_tokens=tokens.outputs)


def time_of(moment: datetime) -> timestamp_pb2.Timestamp:
    """A moment for the answer."""
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(moment)
    return made


def shown_info(info: DocumentInfo) -> pb.DocumentInfo:
    """A document without its text, for the answer."""
    return pb.DocumentInfo(
        id=info.id,
        title=info.title,
        metadata=struct_of(info.metadata),
        acl=shown_acl(info.acl),
        characters=info.characters,
        chunks=info.chunks,
        searchable=info.searchable,
        updated_at=time_of(info.updated_at),
    )


def shown_passage(hit: Hit, explain: bool) -> pb.Passage:
    """A passage for the answer; scores only with `explain`."""
    passage = hit.passage
    return pb.Passage(
        collection=hit.collection,
        document_id=passage.document_id,
        chunk_id=str(passage.chunk_id),
        title=passage.title,
        score=hit.score,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        page=passage.page or 0,
        metadata=struct_of(passage.metadata),
        scores=hit.scores if explain else None,
        page_breaks=passage.page_breaks,
    )


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct's content. Numbers that JSON has no word for are kept, for the domain to refuse."""
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return plain(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return getattr(value, kind)


def struct_of(metadata: Mapping[str, Any]) -> struct_pb2.Struct:
    """Metadata for the answer."""
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(metadata), struct)
    return struct
