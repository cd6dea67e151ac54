"""What is kept of people: facts, consent, conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from headrace.calls._base import Calls, Listed, segment
from headrace.types.memory import Conversation, Erased, Fact, KeptFacts, MemoryState, RecalledFact, Said


class _Recalled(Struct):
    facts: list[RecalledFact]


class MemoryCalls(Calls):
    """Memories. `collection` names one of the kind `memory`; None: the one called `memory`.

    The key asks as `user` (by `x-headrace-user`), or has the scope `assert_identity` or `read_all` and names nobody.
    """

    async def memory(self, user: str, *, collection: str | None = None) -> MemoryState:
        """What there is of a person."""
        return await self._http.call("GET", _path(user), MemoryState, query={"collection": collection})

    async def set_consent(self, user: str, granted: bool, *, collection: str | None = None) -> MemoryState:
        """Say whether facts may be kept of a person; False erases them."""
        query, body = {"collection": collection}, {"granted": granted}
        return await self._http.call("PUT", f"{_path(user)}/consent", MemoryState, body=body, query=query)

    async def remember(
        self, user: str, facts: Sequence[Fact | str], *, wait: bool = True, collection: str | None = None
    ) -> KeptFacts:
        """Keep 1 to 100 facts; one whose id exists is replaced.

        Args:
            user: whose.
            facts: texts, or facts with ids, metadata and expiry.
            wait: return when they are searchable, not as soon as they are on disk.
            collection: the memory.

        Raises:
            Forbidden: the person has not consented.
        """
        sent = [Fact(fact) if isinstance(fact, str) else fact for fact in facts]
        query = {"collection": collection, "wait": "true" if wait else "false"}
        path = f"{_path(user)}/facts"
        return await self._http.call("POST", path, KeptFacts, body={"facts": sent}, query=query, timeout_s=600.0)

    async def facts(
        self, user: str, *, limit: int | None = None, after: str | None = None, collection: str | None = None
    ) -> list[Fact]:
        """A person's facts, by id, from behind `after`; `limit` from 1 to 1000."""
        query = {"collection": collection, "limit": limit, "after": after}
        return (await self._http.call("GET", f"{_path(user)}/facts", Listed[Fact], query=query)).data

    async def forget(self, user: str, fact: str, *, collection: str | None = None) -> None:
        """Erase a fact. Raises NotFound."""
        path = f"{_path(user)}/facts/{segment(fact)}"
        await self._http.call("DELETE", path, object, query={"collection": collection})

    async def recall(
        self,
        user: str,
        query: str,
        *,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        rerank: bool = True,
        collection: str | None = None,
    ) -> list[RecalledFact]:
        """A person's facts that answer a query, best first.

        Args:
            user: whose.
            query: 1 to 8192 characters.
            top_k: facts wanted, 1 to 100.
            filter: equality on metadata fields; a list means any of.
            rerank: order the best candidates by the cross-encoder.
            collection: the memory.
        """
        body: dict[str, Any] = {"query": query, "top_k": top_k, "rerank": rerank}
        if filter:
            body["filter"] = dict(filter)
        path = f"{_path(user)}/search"
        return (await self._http.call("POST", path, _Recalled, body=body, query={"collection": collection})).facts

    async def append_turns(
        self, user: str, conversation: str, turns: Sequence[Said], *, collection: str | None = None
    ) -> Conversation:
        """Keep 1 to 100 turns, oldest first; a new id begins one. Returns what a model should be told next."""
        path = f"{_path(user)}/conversations/{segment(conversation)}/turns"
        sent = [{"role": turn.role, "text": turn.text} for turn in turns]
        return await self._http.call("POST", path, Conversation, body={"turns": sent}, query={"collection": collection})

    async def conversation(
        self, user: str, conversation: str, *, max_tokens: int | None = None, collection: str | None = None
    ) -> Conversation:
        """As much of a conversation as fits `max_tokens`; None: as the platform's config says. Raises NotFound."""
        path = f"{_path(user)}/conversations/{segment(conversation)}"
        query = {"collection": collection, "max_tokens": max_tokens}
        return await self._http.call("GET", path, Conversation, query=query)

    async def conversations(
        self, user: str, *, limit: int | None = None, after: str | None = None, collection: str | None = None
    ) -> list[Conversation]:
        """A person's conversations, by id, without their turns; `limit` from 1 to 1000."""
        query = {"collection": collection, "limit": limit, "after": after}
        return (await self._http.call("GET", f"{_path(user)}/conversations", Listed[Conversation], query=query)).data

    async def delete_conversation(self, user: str, conversation: str, *, collection: str | None = None) -> None:
        """Erase a conversation. Raises NotFound."""
        path = f"{_path(user)}/conversations/{segment(conversation)}"
        await self._http.call("DELETE", path, object, query={"collection": collection})

    async def erase(self, user: str) -> Erased:
        """Remove everything of a person: from all memories of the team, and from its traces."""
        return await self._http.call("DELETE", _path(user), Erased, timeout_s=600.0)


def _path(user: str) -> str:
    return f"/v1/memory/{segment(user)}"
