"""A form with files, as retrieval takes files in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from headrace_gateway.http_api.values import struct_of
from headrace_kit.errors import BadInput
from headrace_protos.retrieval.v1 import messages_pb2 as pb

MAX_FILES = 100
FIELDS = ("id", "title", "metadata", "acl")
"""What a form has besides files."""

_FIELD_BYTES = 131_072
_PIECE_BYTES = 262_144
T = TypeVar("T")


class Acl(msgspec.Struct, forbid_unknown_fields=True):
    """Who may read a document."""

    users: list[str] = []
    groups: list[str] = []
    public: bool = False


class Form(msgspec.Struct):
    """A form with files. `id` and `title` are for a single file, `metadata` and `acl` for all of them."""

    files: list[tuple[pb.FileHeader, memoryview]]

    async def parts(self, collection: str, wait: bool) -> AsyncIterator[pb.IngestFilesRequest]:
        """What is sent to retrieval, in order."""
        yield pb.IngestFilesRequest(target=pb.IngestTarget(collection=collection, wait=wait))
        for header, content in self.files:
            yield pb.IngestFilesRequest(file=header)
            for at in range(0, len(content), _PIECE_BYTES):
                yield pb.IngestFilesRequest(data=bytes(content[at : at + _PIECE_BYTES]))


def read_form(content_type: str, body: bytes) -> Form:
    """The files and fields of a `multipart/form-data` body.

    Raises:
        BadInput: the form is malformed, a field is unknown or no JSON, or there are no files or too many.
    """
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise BadInput("files are sent as multipart/form-data with a boundary", param="content-type")
    fields: dict[str, str] = {}
    files: list[tuple[MultipartSegment, memoryview]] = []
    try:
        for segment, content in _segments(options["boundary"], body):
            if segment.filename is not None:
                files.append((segment, content))
            elif segment.name in fields or segment.name not in FIELDS:
                known = ", ".join(FIELDS)
                raise BadInput(f"a form has files, and each of the fields {known} at most once", param=segment.name)
            elif len(content) > _FIELD_BYTES:
                raise BadInput(f"a field has at most {_FIELD_BYTES} bytes", param=segment.name)
            else:
                fields[segment.name] = bytes(content).decode()
    except (MultipartError, UnicodeDecodeError) as error:
        raise BadInput(f"the form is malformed: {error}", param="body") from error
    if not 1 <= len(files) <= MAX_FILES:
        raise BadInput(f"a form has 1 to {MAX_FILES} files: parts with a filename", param="file")
    if len(files) > 1 and (single := next((name for name in ("id", "title") if name in fields), None)):
        raise BadInput("is for a form with one file", param=single)
    acl = _json(fields, "acl", Acl)
    metadata = struct_of(_json(fields, "metadata", dict[str, Any]), "metadata")
    return Form(
        [
            (
                pb.FileHeader(
                    id=fields.get("id", ""),
                    name=segment.filename or "",
                    title=fields.get("title", ""),
                    metadata=metadata,
                    acl=pb.Acl(users=acl.users, groups=acl.groups, public=acl.public) if acl else None,
                    content_type=segment.content_type or "",
                ),
                content,
            )
            for segment, content in files
        ]
    )


def _segments(boundary: str, body: bytes) -> list[tuple[MultipartSegment, memoryview]]:
    found: list[tuple[MultipartSegment, list[bytes]]] = []
    with PushMultipartParser(boundary, len(body), max_segment_count=MAX_FILES + len(FIELDS), strict=True) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                found.append((event, []))
            elif event:
                found[-1][1].append(bytes(event))
    return [(segment, memoryview(b"".join(pieces))) for segment, pieces in found]


def _json(fields: dict[str, str], name: str, kind: type[T]) -> T | None:
    if name not in fields:
        return None
    try:
        return msgspec.json.decode(fields[name], type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadInput(f"is no JSON as it is wanted here: {error}", param=name) from error
