"""Memories: facts with consent, conversations within a budget, and nothing of it left once it is erased."""

from __future__ import annotations

import importlib.util
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from headrace_gateway.adapters.retrieval import RetrievalClient
from headrace_gateway.ports import Envelope
from headrace_kit.errors import BadInput, Conflict, Forbidden, NotFound
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.stores.postgres import Postgres
from headrace_protos.retrieval.v1 import memory_pb2 as pb
from headrace_protos.retrieval.v1 import messages_pb2 as collections
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.adapters.postgres.memories import PostgresMemories
from headrace_retrieval.adapters.postgres.session import Database

_spec = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)
eventually = kit.eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG.replace(
    "grpc_port: 0, ops_port: 0}",
    "grpc_port: 0, ops_port: 0}, rewriter: small, rewrite_timeout: 2s, memory: {context_tokens: 64}",
).replace("collections:", "collections:\n  memory: {tenant: red, kind: memory}")
SPEAKER = {"scopes": ["assert_identity"]}


class Memory:
    """Calls of one person to a memory of its own."""

    def __init__(self, replica, collection: str) -> None:
        self.replica, self.collection = replica, collection
        self._stub = replica._peer.stub(service_pb2_grpc.MemoryServiceStub)

    async def __call__(self, method: str, user="ada", as_="ada", scopes=(), tenant="red", **fields):
        kind = getattr(pb, f"{method}Request")
        if method != "EraseMemory":
            fields["collection"] = self.collection
        identity = Identity("gateway", tenant, "key", as_, (), frozenset(scopes))
        outbound = Outbound(identity).within(kit.WITHIN_S)
        return await self.replica._peer.unary(getattr(self._stub, method), kind(user=user, **fields), outbound)

    async def consents(self, user: str) -> None:
        await self("SetConsent", user=user, as_=user, granted=True)

    async def keep(self, user: str, **texts: str) -> None:
        facts = [pb.Fact(id=id, text=text) for id, text in texts.items()]
        await self("StoreFacts", user=user, as_=user, facts=facts, wait=True)

    async def recalls(self, query: str, user="ada", **caller) -> list[str]:
        return [fact.id for fact in (await self("SearchMemory", user=user, query=query, **caller)).facts]

    async def said(self, *texts: str, conversation="c", user="ada") -> pb.Conversation:
        turns = [pb.Said(role=("user", "assistant")[n % 2], text=text) for n, text in enumerate(texts)]
        return await self("AppendTurns", user=user, as_=user, conversation=conversation, turns=turns)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part, CONFIG) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def memory(shared) -> Memory:
    shared.models.away, shared.models.answers, shared.models.asked = False, {}, []
    name = f"m{uuid.uuid4().hex[:12]}"
    made = collections.Collection(name=name, kind=collections.COLLECTION_KIND_MEMORY)
    made = await shared.call("CreateCollection", collections.CreateCollectionRequest(collection=made))
    assert (made.kind, made.acl) == (collections.COLLECTION_KIND_MEMORY, collections.ACL_MODE_REQUIRED)
    return Memory(shared, name)


async def test_a_fact_is_kept_with_consent_only_and_found_by_its_person_alone(memory):
    with pytest.raises(Forbidden) as refused:
        await memory.keep("ada", tea="She drinks green tea.")
    assert (refused.value.code, refused.value.param) == ("consent_missing", "user")
    for person in ("ada", "bob"):
        await memory.consents(person)
    await memory.keep("ada", tea="She drinks green tea.", city="She lives in Porto.")
    await memory.keep("bob", tea="He drinks black tea.")
    assert (await memory.recalls("tea"))[0] == "tea"
    found = (await memory("SearchMemory", query="tea")).facts
    assert [fact.text for fact in found if fact.id == "tea"] == ["She drinks green tea."], "Bob's has the same id"
    assert (await memory("SearchMemory", user="bob", as_="", query="tea", **SPEAKER)).facts[0].text.startswith("He")
    known = await memory("GetMemory")
    assert (known.consent, known.facts, known.conversations, known.user) == (True, 2, 0, "ada")
    listed = await memory("ListFacts", limit=1)
    assert [fact.id for fact in listed.facts] == ["city"] and listed.facts[0].searchable
    assert [fact.id for fact in (await memory("ListFacts", after="city")).facts] == ["tea"]


async def test_nobody_asks_for_somebody_else(memory):
    await memory.consents("ada")
    calls = [
        ("GetMemory", {}),
        ("SetConsent", {"granted": False}),
        ("StoreFacts", {"facts": [pb.Fact(text="x")]}),
        ("ListFacts", {}),
        ("DeleteFact", {"id": "tea"}),
        ("SearchMemory", {"query": "tea"}),
        ("AppendTurns", {"conversation": "c", "turns": [pb.Said(role="user", text="x")]}),
        ("GetConversation", {"conversation": "c"}),
        ("ListConversations", {}),
        ("DeleteConversation", {"conversation": "c"}),
        ("EraseMemory", {}),
    ]
    for method, fields in calls:
        for caller in ({"as_": "bob"}, {"as_": ""}, {"as_": "bob", **SPEAKER}):
            with pytest.raises(Forbidden):
                await memory(method, user="ada", **caller, **fields)
        if method != "EraseMemory":
            with pytest.raises(NotFound):
                await memory(method, user="ada", tenant="blue", **fields)
    assert (await memory("GetMemory")).consent


async def test_the_collection_itself_shows_each_person_their_own(memory):
    for person in ("ada", "bob"):
        await memory.consents(person)
        await memory.keep(person, city=f"{person} lives in Porto.")
    replica, name = memory.replica, memory.collection
    assert await replica.ids(name, "Porto", user="ada") == ["ada/city"]
    assert await replica.ids(name, "Porto", user="eve") == []
    with pytest.raises(BadInput, match="one person"):
        await replica.ids(name, "Porto", scopes=["read_all"])
    for act in (
        replica.ingest(name, kit.document("x", "y", collections.Acl(public=True))),
        replica.call("DeleteDocument", collections.DeleteDocumentRequest(collection=name, document_id="ada/city")),
    ):
        with pytest.raises(BadInput, match="/v1/memory"):
            await act
    with pytest.raises(BadInput, match="not a memory"):
        await Memory(replica, "handbook")("GetMemory")
    with pytest.raises(NotFound, match="kind 'memory'"):
        await Memory(replica, "nowhere")("GetMemory")
    assert not (await Memory(replica, "")("GetMemory")).consent, "the config's is the default"


async def test_what_has_expired_is_not_found_any_more_and_then_erased(memory, part):
    await memory.consents("ada")
    soon = pb.Fact(id="soon", text="She is in Rome today.")
    soon.expires_at.FromMilliseconds(int((time.time() + 3) * 1000))
    await memory("StoreFacts", facts=[soon, pb.Fact(id="later", text="She likes Rome.")], wait=True)
    assert sorted(await memory.recalls("Rome")) == ["later", "soon"]
    await eventually(lambda: memory.recalls("Rome"), lambda ids: ids == ["later"])
    assert [fact.id for fact in (await memory("ListFacts")).facts] == ["later"]
    await memory.said("Hello.", conversation="old")
    await memory.said("Hello.", conversation="new")
    postgres = Postgres(part.dsn, "retrieval")
    await postgres.open()
    with psycopg.connect((part.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()) as connection:
        connection.execute("UPDATE retrieval.conversations SET updated_at = now() - interval '2 days' WHERE id = 'old'")
        connection.commit()
        assert await PostgresMemories(Database(postgres)).expire(86_400) == 2
        assert await PostgresMemories(Database(postgres)).expire(86_400) == 0
        kept = "SELECT id FROM retrieval.documents WHERE person = 'ada' AND id ~ 'soon|later'"
        assert connection.execute(kept).fetchall() == [("ada/later",)]
    await postgres.close()
    assert [one.id for one in (await memory("ListConversations")).conversations] == ["new"]
    past = pb.Fact(id="past", text="x")
    past.expires_at.FromSeconds(1)
    with pytest.raises(BadInput) as refused:
        await memory("StoreFacts", facts=[past])
    assert refused.value.param == "facts[0].expires_at"


async def test_taking_consent_back_erases_the_facts_and_leaves_conversations(memory):
    await memory.consents("ada")
    await memory.keep("ada", tea="She drinks green tea.")
    await memory.said("Hello.")
    known = await memory("SetConsent", granted=False)
    assert (known.consent, known.facts, known.conversations) == (False, 0, 1)
    assert await memory.recalls("tea") == []
    with pytest.raises(Forbidden):
        await memory.keep("ada", tea="again")


async def test_a_conversation_fits_its_budget_with_a_summary_of_what_is_long_past(memory):
    memory.replica.models.answers = {"summary": "The user plans a trip to Porto."}
    words, asked = " ".join(["water"] * 10), 0
    for number in range(5):
        told = await memory.said(f"{number} {words}", f"{number} {words}")
        assert told.HasField("summing") == (len(memory.replica.models.asked) > asked)
        asked = len(memory.replica.models.asked)
        assert told.tokens <= 64 and told.left_out == 0 and told.length == 2 * (number + 1)
    assert told.summary == "The user plans a trip to Porto." and told.summarised > 0
    assert [turn.number for turn in told.turns] == list(range(told.summarised + 1, 11))
    prompts = [user for _, _, user in memory.replica.models.asked]
    assert prompts[0].startswith("Summary so far: none\n") and "user: 0 water" in prompts[0]
    assert prompts[-1].startswith("Summary so far: The user plans a trip")
    short = await memory("GetConversation", conversation="c", max_tokens=12)
    assert (short.summary, [turn.number for turn in short.turns], short.left_out) == ("", [10], 9)


async def test_without_a_model_older_turns_are_told_to_be_missing(memory):
    memory.replica.models.away = True
    words = " ".join(["water"] * 20)
    for _ in range(3):
        told = await memory.said(words, words)
    assert (told.summary, told.summarised, len(told.turns), told.left_out) == ("", 0, 3, 3)
    memory.replica.models.away = False
    memory.replica.models.answers = {"summary": "Water, again and again."}
    told = await memory.said("And now?")
    assert (told.summary, told.left_out) == ("Water, again and again.", 0)


async def test_bad_input_names_its_field(memory):
    await memory.consents("ada")
    turn = pb.Said(role="user", text="x")
    for method, fields, param in (
        ("GetMemory", {"user": "a/b", "as_": "a/b"}, "user"),
        ("GetMemory", {"user": "", "as_": ""}, "user"),
        ("StoreFacts", {}, "facts"),
        ("StoreFacts", {"facts": [pb.Fact(text="x"), pb.Fact(id="a b", text="x")]}, "facts[1].id"),
        ("StoreFacts", {"facts": [pb.Fact(text=" ")]}, "facts[0].text"),
        ("StoreFacts", {"facts": [pb.Fact(text="x" * 4001)]}, "facts[0].text"),
        ("StoreFacts", {"facts": [pb.Fact(id="a", text="x"), pb.Fact(id="a", text="y")]}, "facts[1].id"),
        ("DeleteFact", {"id": "a/b"}, "id"),
        ("ListFacts", {"limit": 1001}, "limit"),
        ("ListFacts", {"after": "\0"}, "id"),
        ("SearchMemory", {"query": "x", "top_k": 101}, "top_k"),
        ("SearchMemory", {"query": ""}, "query"),
        ("AppendTurns", {"conversation": "", "turns": [turn]}, "conversation"),
        ("AppendTurns", {"conversation": "c"}, "turns"),
        ("AppendTurns", {"conversation": "c", "turns": [turn, pb.Said(role="tool", text="x")]}, "turns[1].role"),
        ("AppendTurns", {"conversation": "c", "turns": [pb.Said(role="user", text="a\0b")]}, "turns[0].text"),
        ("GetConversation", {"conversation": "c", "max_tokens": 1_000_001}, "max_tokens"),
        ("ListConversations", {"after": "\0"}, "after"),
    ):
        with pytest.raises(BadInput) as refused:
            await memory(method, **fields)
        assert refused.value.param == param, (method, refused.value)
    for method, fields in (
        ("GetConversation", {"conversation": "none"}),
        ("DeleteConversation", {"conversation": "none"}),
        ("DeleteFact", {"id": "none"}),
    ):
        with pytest.raises(NotFound):
            await memory(method, **fields)


@pytest.mark.parametrize(
    ("field", "more"),
    [("acl", {"acl": collections.ACL_MODE_NONE}), ("shared_with", {"shared_with": ["blue"]})],
)
async def test_a_memory_is_shared_with_nobody_and_stays_what_it_is(memory, field, more):
    made = collections.Collection(name="shared", kind=collections.COLLECTION_KIND_MEMORY, **more)
    with pytest.raises(BadInput) as refused:
        await memory.replica.call("CreateCollection", collections.CreateCollectionRequest(collection=made))
    assert refused.value.param == f"collection.{field}"
    as_documents = collections.Collection(name=memory.collection, acl=collections.ACL_MODE_REQUIRED)
    with pytest.raises(Conflict):
        await memory.replica.call("CreateCollection", collections.CreateCollectionRequest(collection=as_documents))


async def test_nothing_of_an_erased_person_is_left_in_any_table(memory, part):
    person, other = f"p{uuid.uuid4().hex}", f"o{uuid.uuid4().hex}"
    for one in (person, other):
        await memory.consents(one)
        await memory.keep(one, tea=f"{one} drinks tea.", city=f"{one} lives in Porto.")
        await memory.said("Hello.", f"Hello {one}.", conversation=f"{one}-talk", user=one)
    memory.replica.models.refusing = True
    bad = pb.Fact(id="bad", text=f"{person} {kit.REFUSED}")
    await memory("StoreFacts", user=person, as_=person, facts=[bad])
    erased = await memory("EraseMemory", user=person, as_="", **SPEAKER)
    assert (erased.facts, erased.conversations, erased.turns, erased.consents, erased.left) == (3, 1, 2, 1, 0)
    with psycopg.connect((part.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'retrieval'").fetchall()
        assert ("turns",) in tables

        def holding(name: str) -> set[str]:
            query = 'SELECT count(*) FROM retrieval."{}" AS t WHERE strpos(t::text, %s) > 0'
            return {table for (table,) in tables if connection.execute(query.format(table), [name]).fetchone()[0]}

        assert holding(person) == set()
        assert {"documents", "revisions", "chunks", "consents", "conversations", "turns"} <= holding(other)
    assert await memory.recalls("tea", user=person, as_=person) == []
    assert await memory.recalls("tea", user=other, as_=other) == ["tea", "city"]
    again = await memory("EraseMemory", user=person, as_="", **SPEAKER)
    assert again == pb.EraseMemoryResponse()


async def test_the_gateway_keeps_and_reads_conversations_as_its_pipeline_does(memory):
    client = RetrievalClient(memory.replica._peer)
    sent = Envelope(Identity("gateway", "red", "key", "ada"), "r", time.monotonic() + kit.WITHIN_S, "", "")
    asked = {"collection": memory.collection, "user": "ada", "conversation": "trip"}
    with pytest.raises(NotFound) as missing:
        await client.conversation(pb.GetConversationRequest(**asked), sent)
    assert missing.value.param == "conversation", "it begins now"
    turns = [pb.Said(role="user", text="How do I get there?"), pb.Said(role="assistant", text="By train.")]
    await client.append(pb.AppendTurnsRequest(**asked, turns=turns), sent)
    told = await client.conversation(pb.GetConversationRequest(**asked, max_tokens=500), sent)
    assert [(turn.role, turn.text) for turn in told.turns] == [(turn.role, turn.text) for turn in turns]
    with pytest.raises(Forbidden):
        await client.conversation(pb.GetConversationRequest(**asked | {"user": "bob"}), sent)
    with pytest.raises(NotFound) as elsewhere:
        await client.conversation(pb.GetConversationRequest(**asked | {"collection": "nowhere"}), sent)
    assert elsewhere.value.param == "collection"
