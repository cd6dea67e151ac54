"""`/v1/memory/{user}`: what is kept of people, passed on to retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, flag, query, whole_number
from headrace_gateway.http_api.retrieval import RetrievalApi
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import shown, struct_of, timestamp
from headrace_gateway.people import erase_person
from headrace_protos.retrieval.v1 import memory_pb2 as pb

_WAIT_S = 600.0


class Consent(Struct, forbid_unknown_fields=True):
    """`PUT /v1/memory/{user}/consent`: whether facts may be kept of the person. False erases them."""

    granted: bool


class NewFact(Struct, forbid_unknown_fields=True):
    """Something to be known of a person. Without `id` it gets one; one that exists is replaced."""

    text: Annotated[str, Meta(min_length=1, max_length=4000)]
    id: Annotated[str, Meta(pattern="^[A-Za-z0-9._:-]{1,128}$")] | None = None
    metadata: dict[str, Any] | None = None
    expires_at: str | None = None


class NewFacts(Struct, forbid_unknown_fields=True):
    """`POST /v1/memory/{user}/facts`."""

    facts: Annotated[list[NewFact], Meta(min_length=1, max_length=100)]


class Recall(Struct, forbid_unknown_fields=True):
    """`POST /v1/memory/{user}/search`. What is found is reranked unless it says otherwise."""

    query: Annotated[str, Meta(min_length=1, max_length=8192)]
    top_k: Annotated[int, Meta(ge=1, le=100)] = 10
    filter: dict[str, Any] | None = None
    rerank: bool = True


class NewTurn(Struct, forbid_unknown_fields=True):
    """Something that was said."""

    role: Literal["user", "assistant"]
    text: Annotated[str, Meta(min_length=1, max_length=32_000)]


class NewTurns(Struct, forbid_unknown_fields=True):
    """`POST /v1/memory/{user}/conversations/{conversation}/turns`, oldest first."""

    turns: Annotated[list[NewTurn], Meta(min_length=1, max_length=100)]


_MEMORY = frozenset({"collection"})
_PAGE = _MEMORY | {"limit", "after"}
_WAIT = _MEMORY | {"wait"}
_FIT = _MEMORY | {"max_tokens"}
_consent = msgspec.json.Decoder(Consent)
_new_facts = msgspec.json.Decoder(NewFacts)
_recall = msgspec.json.Decoder(Recall)
_new_turns = msgspec.json.Decoder(NewTurns)


class MemoryApi(RetrievalApi):
    """Facts, consent and conversations of people, and erasing them. `?collection=` names the memory: `memory`."""

    def routes(self) -> list[Route]:
        """The routes of this part."""
        one = "/v1/memory/{user}"
        talk = f"{one}/conversations/{{conversation}}"
        return [
            Route("GET", one, self.get, query=_MEMORY),
            Route("DELETE", one, self.erase, traced=False),
            Route("PUT", f"{one}/consent", self.consent, body=Consent, query=_MEMORY),
            Route("POST", f"{one}/facts", self.keep, body=NewFacts, query=_WAIT),
            Route("GET", f"{one}/facts", self.list_facts, query=_PAGE),
            Route("DELETE", f"{one}/facts/{{id}}", self.delete_fact, query=_MEMORY),
            Route("POST", f"{one}/search", self.search, body=Recall, query=_MEMORY),
            Route("GET", f"{one}/conversations", self.list_conversations, query=_PAGE),
            Route("GET", talk, self.get_conversation, query=_FIT),
            Route("DELETE", talk, self.delete_conversation, query=_MEMORY),
            Route("POST", f"{talk}/turns", self.append, body=NewTurns, query=_MEMORY),
        ]

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """What there is of a person: consent, and how many facts and conversations."""
        asked = query(request.query, _MEMORY)
        sent = pb.GetMemoryRequest(collection=asked.get("collection", ""), user=parameters["user"])
        return json_response(shown(await self._call(visit, "GetMemory", sent)), visit.ctx)

    async def erase(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Remove everything of a person: from all memories of the team, and from its traces."""
        query(request.query, frozenset())
        request.follow_client()
        sent = pb.EraseMemoryRequest(user=parameters["user"])
        erased = await erase_person(self._services, visit.ctx, sent)
        return json_response({"user": parameters["user"], **shown(erased)}, visit.ctx)

    async def consent(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Say whether facts may be kept of a person; taking it back erases them."""
        asked = query(request.query, _MEMORY)
        body = decode(_consent, await request.body(self._max_body_bytes()))
        sent = pb.SetConsentRequest(
            collection=asked.get("collection", ""), user=parameters["user"], granted=body.granted
        )
        return json_response(shown(await self._call(visit, "SetConsent", sent)), visit.ctx)

    async def keep(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Keep facts of a person who consented; `?wait=true` answers when they are searchable."""
        asked = query(request.query, _WAIT)
        wait = flag(asked, "wait")
        body = decode(_new_facts, await request.body(self._max_body_bytes()))
        request.follow_client()
        sent = pb.StoreFactsRequest(collection=asked.get("collection", ""), user=parameters["user"], wait=wait)
        for number, fact in enumerate(body.facts):
            where = f"facts[{number}]"
            sent.facts.add(
                id=fact.id or "",
                text=fact.text,
                metadata=struct_of(fact.metadata, f"{where}.metadata"),
                expires_at=timestamp(fact.expires_at, f"{where}.expires_at"),
            )
        kept = await self._call(visit, "StoreFacts", sent, _WAIT_S)
        return json_response(shown(kept), visit.ctx, 200 if wait else 202)

    async def list_facts(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A person's facts, by id; `?limit=` of them from behind `?after=`."""
        asked = query(request.query, _PAGE)
        sent = pb.ListFactsRequest(
            collection=asked.get("collection", ""),
            user=parameters["user"],
            limit=whole_number(asked, "limit", 100, 1, 1000),
            after=asked.get("after", ""),
        )
        found = await self._call(visit, "ListFacts", sent)
        return json_response({"object": "list", "data": [shown(fact) for fact in found.facts]}, visit.ctx)

    async def delete_fact(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Erase a fact."""
        asked = query(request.query, _MEMORY)
        sent = pb.DeleteFactRequest(
            collection=asked.get("collection", ""), user=parameters["user"], id=parameters["id"]
        )
        await self._call(visit, "DeleteFact", sent)
        return json_response({"id": parameters["id"], "deleted": True}, visit.ctx)

    async def search(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A person's facts that answer a query, best first."""
        asked = query(request.query, _MEMORY)
        body = decode(_recall, await request.body(self._max_body_bytes()))
        request.follow_client()
        sent = pb.SearchMemoryRequest(
            collection=asked.get("collection", ""),
            user=parameters["user"],
            query=body.query,
            top_k=body.top_k,
            filter=struct_of(body.filter, "filter"),
            rerank=body.rerank,
        )
        found = await self._call(visit, "SearchMemory", sent)
        return json_response({"facts": [shown(fact) for fact in found.facts]}, visit.ctx)

    async def list_conversations(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A person's conversations, by id; `?limit=` of them from behind `?after=`."""
        asked = query(request.query, _PAGE)
        sent = pb.ListConversationsRequest(
            collection=asked.get("collection", ""),
            user=parameters["user"],
            limit=whole_number(asked, "limit", 100, 1, 1000),
            after=asked.get("after", ""),
        )
        found = await self._call(visit, "ListConversations", sent)
        data = [
            {"id": one.id, "length": one.length, "updated_at": one.updated_at.ToJsonString()}
            for one in found.conversations
        ]
        return json_response({"object": "list", "data": data}, visit.ctx)

    async def get_conversation(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """As much of a conversation as fits `?max_tokens=`: the summary of what is long past, and the newest turns."""
        asked = query(request.query, _FIT)
        sent = pb.GetConversationRequest(
            collection=asked.get("collection", ""),
            user=parameters["user"],
            conversation=parameters["conversation"],
            max_tokens=whole_number(asked, "max_tokens", 0, 1, 1_000_000),
        )
        return json_response(shown(await self._call(visit, "GetConversation", sent)), visit.ctx)

    async def delete_conversation(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Erase a conversation."""
        asked = query(request.query, _MEMORY)
        id = parameters["conversation"]
        sent = pb.DeleteConversationRequest(
            collection=asked.get("collection", ""), user=parameters["user"], conversation=id
        )
        await self._call(visit, "DeleteConversation", sent)
        return json_response({"id": id, "deleted": True}, visit.ctx)

    async def append(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Keep what was said; the answer is what a model should be told next."""
        asked = query(request.query, _MEMORY)
        body = decode(_new_turns, await request.body(self._max_body_bytes()))
        sent = pb.AppendTurnsRequest(
            collection=asked.get("collection", ""),
            user=parameters["user"],
            conversation=parameters["conversation"],
            turns=[pb.Said(role=turn.role, text=turn.text) for turn in body.turns],
        )
        return json_response(shown(await self._call(visit, "AppendTurns", sent, 120.0)), visit.ctx)
