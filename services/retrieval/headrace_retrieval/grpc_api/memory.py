"""`headrace.retrieval.v1.MemoryService`: what is kept of people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

from headrace_kit.errors import BadInput
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import memory_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.domain.conversations import Conversations
from headrace_retrieval.domain.ingest import Ingest
from headrace_retrieval.domain.memories import Memories
from headrace_retrieval.domain.metadata import compile_filter
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.people import Conversation, Fact, NewFact, Remembered, Told
from headrace_retrieval.grpc_api.values import CALLERS, caller_of, plain, struct_of, time_of, usage_of


@dataclass(frozen=True)
class MemoryServices:
    """What the servicer calls."""

    memories: Memories
    conversations: Conversations
    ingest: Ingest


class MemoryServicer(service_pb2_grpc.MemoryServiceServicer):
    """See the proto for what each call does."""

    def __init__(self, rpc_runtime: RpcRuntime, services: MemoryServices) -> None:
        self.rpc_runtime = rpc_runtime
        self._memories = services.memories
        self._conversations = services.conversations
        self._ingest = services.ingest

    @rpc(callers=CALLERS)
    async def GetMemory(self, request: pb.GetMemoryRequest, call: Call) -> pb.Memory:
        """What there is of a person."""
        collection, known = await self._memories.known(caller_of(call), request.collection, request.user)
        return _memory(collection, request.user, known)

    @rpc(callers=CALLERS)
    async def SetConsent(self, request: pb.SetConsentRequest, call: Call) -> pb.Memory:
        """Note a consent, or take it back."""
        caller = caller_of(call)
        collection, known = await self._memories.consent(caller, request.collection, request.user, request.granted)
        return _memory(collection, request.user, known)

    @rpc(callers=CALLERS)
    async def StoreFacts(self, request: pb.StoreFactsRequest, call: Call) -> pb.StoreFactsResponse:
        """Keep facts, and with `wait` answer when they are searchable."""
        caller = caller_of(call)
        facts = [_new_fact(fact, number) for number, fact in enumerate(request.facts)]
        kept = await self._memories.keep(caller, request.collection, request.user, facts)
        if request.wait:
            await self._ingest.wait(caller, kept.job, call.remaining_s())
        return pb.StoreFactsResponse(job=str(kept.job), ids=kept.ids)

    @rpc(callers=CALLERS)
    async def ListFacts(self, request: pb.ListFactsRequest, call: Call) -> pb.ListFactsResponse:
        """A person's facts."""
        found = await self._memories.facts(
            caller_of(call), request.collection, request.user, request.after, request.limit
        )
        return pb.ListFactsResponse(facts=[_fact(fact) for fact in found])

    @rpc(callers=CALLERS)
    async def DeleteFact(self, request: pb.DeleteFactRequest, call: Call) -> pb.DeleteFactResponse:
        """Erase a fact."""
        await self._memories.forget(caller_of(call), request.collection, request.user, request.id)
        return pb.DeleteFactResponse()

    @rpc(callers=CALLERS)
    async def SearchMemory(self, request: pb.SearchMemoryRequest, call: Call) -> pb.SearchMemoryResponse:
        """Facts of one person that answer a query."""
        found = await self._memories.recall(
            caller_of(call),
            request.collection,
            request.user,
            request.query,
            request.top_k,
            compile_filter(plain(request.filter)),
            request.rerank,
        )
        return pb.SearchMemoryResponse(
            facts=[
                pb.RecalledFact(id=one.id, text=one.text, metadata=struct_of(one.metadata), score=one.score)
                for one in found
            ]
        )

    @rpc(callers=CALLERS)
    async def AppendTurns(self, request: pb.AppendTurnsRequest, call: Call) -> pb.Conversation:
        """Keep what was said."""
        turns = [(turn.role, turn.text) for turn in request.turns]
        return _told(
            await self._conversations.append(
                caller_of(call), request.collection, request.user, request.conversation, turns
            )
        )

    @rpc(callers=CALLERS)
    async def GetConversation(self, request: pb.GetConversationRequest, call: Call) -> pb.Conversation:
        """As much of a conversation as fits."""
        return _told(
            await self._conversations.get(
                caller_of(call), request.collection, request.user, request.conversation, request.max_tokens
            )
        )

    @rpc(callers=CALLERS)
    async def ListConversations(self, request: pb.ListConversationsRequest, call: Call) -> pb.ListConversationsResponse:
        """A person's conversations."""
        found = await self._conversations.page(
            caller_of(call), request.collection, request.user, request.after, request.limit
        )
        return pb.ListConversationsResponse(conversations=[_conversation(one) for one in found])

    @rpc(callers=CALLERS)
    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, call: Call
    ) -> pb.DeleteConversationResponse:
        """Erase a conversation."""
        await self._conversations.delete(caller_of(call), request.collection, request.user, request.conversation)
        return pb.DeleteConversationResponse()

    @rpc(callers=CALLERS)
    async def EraseMemory(self, request: pb.EraseMemoryRequest, call: Call) -> pb.EraseMemoryResponse:
        """Remove everything of a person."""
        erased = await self._memories.erase(caller_of(call), request.user)
        return pb.EraseMemoryResponse(
            facts=erased.facts,
            conversations=erased.conversations,
            turns=erased.turns,
            consents=erased.consents,
            left=erased.left,
        )


def servicing(runtime: RpcRuntime, services: MemoryServices) -> Servicing:
    """The servicer for a host to add."""
    return Servicing(
        service_pb2_grpc.add_MemoryServiceServicer_to_server,
        MemoryServicer(runtime, services),
        "headrace.retrieval.v1.MemoryService",
    )


def _new_fact(fact: pb.Fact, number: int) -> NewFact:
    expires_at = None
    if fact.HasField("expires_at"):
        try:
            expires_at = fact.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise BadInput("that is no time", param=f"facts[{number}].expires_at") from None
    return NewFact(fact.id, fact.text, plain(fact.metadata), expires_at)


def _fact(fact: Fact) -> pb.Fact:
    return pb.Fact(
        id=fact.id,
        text=fact.text,
        metadata=struct_of(fact.metadata),
        expires_at=None if fact.expires_at is None else time_of(fact.expires_at),
        searchable=fact.searchable,
        updated_at=time_of(fact.updated_at),
    )


def _memory(collection: Collection, user: str, known: Remembered) -> pb.Memory:
    return pb.Memory(
        collection=collection.spec.name,
        user=user,
        consent=known.consent_at is not None,
        consent_at=None if known.consent_at is None else time_of(known.consent_at),
        facts=known.facts,
        conversations=known.conversations,
    )


def _conversation(one: Conversation) -> pb.Conversation:
    return pb.Conversation(id=one.id, length=one.length, summarised=one.summarised, updated_at=time_of(one.updated_at))


def _told(told: Told) -> pb.Conversation:
    made = _conversation(told.conversation)
    made.summary, made.tokens, made.left_out = told.summary, told.tokens, told.left_out
    if (summing := usage_of(told.summing)) is not None:
        made.summing.CopyFrom(summing)
    for turn in told.turns:
        made.turns.add(role=turn.role, text=turn.text, number=turn.number, at=time_of(turn.at))
    return made
