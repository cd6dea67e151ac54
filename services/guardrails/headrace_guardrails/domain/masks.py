"""The values that masks stand for, by conversation: sealed, short-lived, and given back to their owner only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from headrace_detectors import Session
from headrace_guardrails.domain.sealing import Seal
from headrace_guardrails.ports import Subject
from headrace_kit.errors import BadInput, NotFound, NotReady


class MaskStore(Protocol):
    """Where sealed conversations are kept for a while. Both methods raise NotReady while it cannot be reached."""

    async def get(self, key: bytes) -> bytes | None:
        """What is kept under a key."""

    async def put(self, key: bytes, sealed: bytes, ttl_s: float) -> None:
        """Keep something for `ttl_s`."""


class Masks:
    """Conversations whose placeholders stay the same and can be put back.

    Args:
        store: None where the service has none: conversations are refused then.
        seal: keeps values unreadable in the store.
        ttl_s: how long a conversation is kept after its last text.
    """

    def __init__(self, store: MaskStore | None, seal: Seal, ttl_s: Callable[[], float]) -> None:
        self._store, self._seal, self._ttl_s = store, seal, ttl_s

    @asynccontextmanager
    async def session(self, subject: Subject) -> AsyncIterator[Session]:
        """The session of a text; of a conversation's text, the one that the conversation goes on with.

        Raises:
            NotReady: the text belongs to a conversation, and the store cannot be reached.
        """
        if not subject.conversation_id:
            yield Session()
            return
        key = self._key(subject.tenant, subject.user, subject.conversation_id)
        session = await self._read(key) or Session(keep=True)
        known = len(session.values)
        yield session
        if len(session.values) > known:
            sealed = self._seal.close(json.dumps(session.dump()), key.hex())
            await self._open().put(key, sealed, self._ttl_s())

    async def unmask(self, tenant: str, user: str, conversation_id: str, text: str) -> tuple[str, int]:
        """A text with the values of a conversation in place of their placeholders, and how many there were.

        Raises:
            BadInput: no conversation was named.
            NotFound: there is none of the caller's, or it was forgotten.
            NotReady: the store cannot be reached.
        """
        if not conversation_id:
            raise BadInput("name the conversation", param="conversation_id")
        session = await self._read(self._key(tenant, user, conversation_id))
        if session is None:
            raise NotFound("no such conversation, or it was forgotten meanwhile", param="conversation_id")
        return session.unmask(text)

    async def _read(self, key: bytes) -> Session | None:
        sealed = await self._open().get(key)
        return Session.load(json.loads(self._seal.open(sealed, key.hex()))) if sealed is not None else None

    def _key(self, tenant: str, user: str, conversation_id: str) -> bytes:
        return self._seal.digest("conversation", tenant, user, conversation_id)

    def _open(self) -> MaskStore:
        if self._store is None:
            raise NotReady("there is no store for conversations: set the secret of stores.valkey")
        return self._store
