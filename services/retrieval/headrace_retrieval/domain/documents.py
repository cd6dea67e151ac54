"""Documents on their way in: what is accepted and what is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from headrace_kit.errors import BadInput, TooLarge
from headrace_retrieval.domain import metadata as fields
from headrace_retrieval.domain.model import NewDocument
from headrace_retrieval.domain.rights import Acl

MAX_DOCUMENTS = 1000
MAX_ID = 512
MAX_TITLE = 1024
MAX_TEXT_BYTES = 10 * 1024 * 1024
MAX_READERS = 1000
MAX_READER = 256
PLAIN, MARKDOWN = "text/plain", "text/markdown"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MARKDOWN = re.compile(r"^(?:#{1,6} \S|```|~~~|[ \t]{0,8}[-*+] \S|\|[^\n]+\|$)", re.MULTILINE)


def check(
    *,
    id: str,
    text: str,
    title: str,
    content_type: str,
    metadata: Mapping[str, Any],
    acl: Acl | None,
    acl_required: bool,
    param: str,
    page_starts: tuple[int, ...] = (),
) -> NewDocument:
    """A document that may be stored.

    Args:
        acl_required: the collection refuses documents without an ACL.
        param: where the document stands in the request, for error messages.

    Raises:
        BadInput: a field is missing, malformed or too long; `param` names it.
        TooLarge: the text is.
    """
    check_id(id, f"{param}.id")
    if not text.strip():
        raise BadInput("the text is empty", param=f"{param}.text")
    if "\0" in text:
        raise BadInput("the text holds NUL characters; send text, not binary data", param=f"{param}.text")
    if len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES:
        raise TooLarge(f"the text is larger than {MAX_TEXT_BYTES} bytes; split the document", param=f"{param}.text")
    if len(title) > MAX_TITLE or _CONTROL.search(title):
        raise BadInput(f"a title has at most {MAX_TITLE} characters and no control characters", param=f"{param}.title")
    if content_type not in ("", PLAIN, MARKDOWN):
        raise BadInput(f"content_type is {PLAIN!r} or {MARKDOWN!r}", param=f"{param}.content_type")
    if acl is None and acl_required:
        raise BadInput(
            "this collection wants an acl for each document: who may read it, or public", param=f"{param}.acl"
        )
    if acl is not None:
        _check_readers(acl.users, f"{param}.acl.users")
        _check_readers(acl.groups, f"{param}.acl.groups")
    cleaned = fields.clean(metadata, f"{param}.metadata")
    kind = content_type or (MARKDOWN if _MARKDOWN.search(text) else PLAIN)
    return NewDocument(
        id=id,
        text=text,
        title=title,
        content_type=kind,
        metadata=cleaned,
        filter_terms=tuple(fields.terms(cleaned)),
        acl=acl,
        content_hash=content_hash(text, title, kind, page_starts),
        page_starts=page_starts,
    )


def check_id(id: str, param: str) -> None:
    """Raises BadInput unless `id` may name a document."""
    if not id or len(id) > MAX_ID:
        raise BadInput(f"an id has 1 to {MAX_ID} characters", param=param)
    if _CONTROL.search(id):
        raise BadInput("an id must not contain control characters", param=param)


def check_batch(ids: Sequence[str], param: str = "documents") -> None:
    """Raises BadInput when a request names none, too many, or one twice; `param` is their field."""
    if not ids:
        raise BadInput("send at least one document", param=param)
    if len(ids) > MAX_DOCUMENTS:
        raise BadInput(f"send at most {MAX_DOCUMENTS} documents at a time", param=param)
    seen: dict[str, int] = {}
    for position, id in enumerate(ids):
        if id in seen:
            raise BadInput(f"the same id as {param}[{seen[id]}]", param=f"{param}[{position}].id")
        seen[id] = position


def content_hash(text: str, title: str, content_type: str, page_starts: Sequence[int] = ()) -> bytes:
    """SHA-256 over everything that decides a document's passages and vectors."""
    digest = hashlib.sha256()
    pages = [",".join(map(str, page_starts))] if page_starts else []
    for part in (content_type, title, text, *pages):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()


def _check_readers(names: Sequence[str], param: str) -> None:
    if len(names) > MAX_READERS:
        raise BadInput(f"at most {MAX_READERS} names; use groups", param=param)
    for position, name in enumerate(names):
        if not name.strip() or len(name) > MAX_READER or _CONTROL.search(name):
            raise BadInput(
                f"a name has 1 to {MAX_READER} characters and no control characters", param=f"{param}[{position}]"
            )
