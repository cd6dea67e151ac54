"""Files on their way to documents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_kit.errors import BadInput, TooLarge
from headrace_retrieval.domain.documents import MARKDOWN, MAX_ID, MAX_TITLE, PLAIN, check
from headrace_retrieval.domain.model import Collection, NewDocument
from headrace_retrieval.domain.rights import Acl
from headrace_retrieval.parsing.parsed import Parsed, Refused
from headrace_retrieval.ports import Parser

MAX_FILES = 100
"""Files in one upload."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was sent. `id` and `title` empty: they come from the name, and the title from the file itself."""

    id: str
    name: str
    title: str
    content_type: str
    metadata: Mapping[str, Any]
    acl: Acl | None
    content: bytes

    @property
    def document_id(self) -> str:
        """What the document is called: nothing of a path but its last part."""
        return self.id or _CONTROL.sub("", re.split(r"[/\\]", self.name)[-1]).strip()[:MAX_ID]


@dataclass(frozen=True, slots=True)
class Upload:
    """Files for a collection."""

    collection: str
    wait: bool
    files: Sequence[File]


@dataclass(frozen=True, slots=True)
class Target:
    """The first part of an upload."""

    collection: str
    wait: bool


Part = Target | File | bytes
"""Of an upload: a target, then for each file one without content, followed by its bytes in pieces."""


async def collect(parts: AsyncIterator[Part], max_bytes: int) -> Upload:
    """An upload from its parts.

    Raises:
        BadInput: the parts are in another order than they have to be, or there are too many files.
        TooLarge: the files have more than `max_bytes` together; reading stops there.
    """
    target: Target | None = None
    headers: list[File] = []
    content: list[list[bytes]] = []
    size = 0
    async for part in parts:
        if isinstance(part, Target):
            if target is not None:
                raise BadInput("an upload has one target, and begins with it", param="target")
            target = part
        elif target is None:
            raise BadInput("an upload begins with its target", param="target")
        elif isinstance(part, File):
            if len(headers) == MAX_FILES:
                raise BadInput(f"send at most {MAX_FILES} files at a time", param="files")
            headers.append(part)
            content.append([])
        else:
            if not headers:
                raise BadInput("a file's header stands before its data", param="files")
            size += len(part)
            if size > max_bytes:
                raise TooLarge(f"the files are larger than {max_bytes} bytes; send them one by one", param="files")
            content[-1].append(part)
    if target is None or not headers:
        raise BadInput("send at least one file", param="files")
    files = [
        File(one.id, one.name, one.title, one.content_type, one.metadata, one.acl, b"".join(pieces))
        for one, pieces in zip(headers, content, strict=True)
    ]
    return Upload(target.collection, target.wait, files)


async def read_files(
    parser: Parser, files: Sequence[File], collection: Collection
) -> Callable[[Collection], list[NewDocument]]:
    """Read files; what is returned makes checked documents of them.

    Raises:
        BadInput: a file is refused; `param` says which. None is kept then.
    """
    for position, file in enumerate(files):
        if not file.document_id:
            raise BadInput("give the file a name, or the document an id", param=f"files[{position}].name")
        if file.acl is None and collection.spec.acl_required:  # before the work, not after
            raise BadInput(
                "this collection wants an acl for each document: who may read it, or public",
                param=f"files[{position}].acl",
            )
    parsed = await asyncio.gather(*(_parse(parser, file, position) for position, file in enumerate(files)))

    def documents(collection: Collection) -> list[NewDocument]:
        return [
            _document(file, one, collection, f"files[{position}]")
            for position, (file, one) in enumerate(zip(files, parsed, strict=True))
        ]

    return documents


async def _parse(parser: Parser, file: File, position: int) -> Parsed:
    try:
        return await parser.parse(file.content, file.name, file.content_type)
    except Refused as refused:
        raise BadInput(f"{file.document_id!r} cannot be read: {refused}", param=f"files[{position}]") from None


def _document(file: File, parsed: Parsed, collection: Collection, param: str) -> NewDocument:
    found = " ".join(_CONTROL.sub(" ", parsed.title).split())
    return check(
        id=file.document_id,
        text=parsed.text,
        title=file.title or found[:MAX_TITLE] or file.document_id[:MAX_TITLE],
        content_type=MARKDOWN if parsed.markdown else PLAIN,
        metadata=file.metadata,
        acl=file.acl,
        acl_required=collection.spec.acl_required,
        param=param,
        page_starts=parsed.pages,
    )
