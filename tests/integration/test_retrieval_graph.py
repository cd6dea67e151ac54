"""The graph of the vector search on real pgvector: built in the background, as good as looking at each."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_retrieval.adapters.postgres import graphs
from headrace_retrieval.domain import search

_SPEC = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(kit)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
DOCUMENTS = 600
VECTOR = pb.SEARCH_MODE_VECTOR
WORDS = [f"w{number}" for number in range(80)]


def _acl(number: int) -> pb.Acl:
    """All may read half of them; one in ten is for `few`, one in a hundred for `rare`, the rest for `most`."""
    if number % 100 == 0:
        return pb.Acl(groups=["rare"])
    if number % 10 == 1:
        return pb.Acl(groups=["few"])
    return pb.Acl(public=True) if number % 2 else pb.Acl(groups=["most"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(part) -> AsyncIterator[kit.Replica]:
    """A replica with a collection that has a graph, and some passages that are not in it yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "GRAPH_FROM", 200)
        patch.setattr(graphs, "UNSETTLED", 50)
        async with kit.serving(part) as running:
            await running.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name="many")))
            draw = random.Random(3)
            documents = [
                kit.document(
                    f"d{number}", " ".join(draw.choices(WORDS, k=12)), _acl(number), metadata={"n": number % 3}
                )
                for number in range(DOCUMENTS)
            ]
            for at in range(0, DOCUMENTS, 100):
                await running.ingest("many", *documents[at : at + 100])
            await kit.eventually(lambda: _rows(part, "settled"), lambda rows: rows >= DOCUMENTS - 50)
            yield running


async def _rows(part, condition: str) -> int:
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        await connection.execute("SET headrace.system = 'on'")
        cursor = await connection.execute(f"SELECT count(*) FROM retrieval.vectors WHERE {condition}")
        return (await cursor.fetchone())[0]


async def _both(replica, monkeypatch, query, **caller) -> tuple[list[str], list[str]]:
    """What the graph finds, and what looking at each finds."""
    monkeypatch.setattr(search, "ONE_BY_ONE", 0)
    by_graph = await replica.ids("many", query, mode=VECTOR, top_k=10, **caller)
    monkeypatch.setattr(search, "ONE_BY_ONE", DOCUMENTS)
    return by_graph, await replica.ids("many", query, mode=VECTOR, top_k=10, **caller)


CALLERS = {
    "everything": {"scopes": ("read_all",)},
    "public": {},
    "most": {"groups": ("most",)},
    "few": {"groups": ("few",)},
    "rare": {"user": "ana", "groups": ("rare",)},
    "filtered": {"scopes": ("read_all",), "filter": {"n": [1, 2]}},
}


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
async def test_the_graph_finds_what_looking_at_each_finds(replica, monkeypatch, caller):
    draw, hits = random.Random(5), 0
    for _ in range(20):
        by_graph, one_by_one = await _both(replica, monkeypatch, " ".join(draw.choices(WORDS, k=4)), **caller)
        assert len(by_graph) == len(one_by_one) == 10
        hits += len(set(by_graph) & set(one_by_one))
    assert hits >= 196, "recall at 10 of at least 0.98"


async def test_a_caller_with_few_readable_passages_gets_them_all(replica, monkeypatch):
    monkeypatch.setattr(search, "ONE_BY_ONE", 0)
    found = await replica.ids("many", "w1 w2", mode=VECTOR, top_k=100, groups=("rare",), filter={"n": 0})
    rare = [number for number in range(DOCUMENTS) if number % 3 == 0 and _acl(number).groups == ["rare"]]
    public = [number for number in range(DOCUMENTS) if number % 3 == 0 and _acl(number).public]
    assert len(found) == min(100, len(rare) + len(public))
    assert set(found) <= {f"d{number}" for number in (*rare, *public)}


async def test_what_was_just_stored_is_found_and_what_was_removed_is_not(replica, monkeypatch):
    monkeypatch.setattr(search, "ONE_BY_ONE", 0)
    await replica.ingest("many", kit.document("new", "w1 w1 w1 new"))
    assert (await replica.ids("many", "w1 w1 w1 new", mode=VECTOR))[0] == "new"
    await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection="many", document_id="new"))
    assert "new" not in await replica.ids("many", "w1 w1 w1 new", mode=VECTOR, top_k=100)


async def test_fused_scores_count_from_what_an_average_passage_has(replica, part):
    """The mean vector is there, so a passage that is near to nothing adds nothing."""
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        await connection.execute("SET headrace.system = 'on'")
        cursor = await connection.execute("SELECT graph, length(mean), measured FROM retrieval.indexes WHERE graph")
        graph, length, measured = await cursor.fetchone()
    assert graph and length == 4 * kit.DIMENSIONS and measured > 0


async def test_a_bug_in_the_service_cannot_ask_the_database_for_more(part, replica):
    """The function takes rights from the transaction, never from an argument."""
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        cursor = await connection.execute("SELECT 1")
        for settings, expected in (({}, 0), ({"tenant": "blue"}, 0), ({"tenant": "red", "readers": "{g:rare}"}, 6)):
            await connection.rollback()
            await connection.execute("SET LOCAL search_path = retrieval, public")
            await connection.execute("SET LOCAL headrace.system = 'on'")
            ids = [row[0] for row in await (await connection.execute("SELECT id FROM indexes")).fetchall()]
            await connection.execute("SET LOCAL headrace.system = ''")
            for name, value in settings.items():
                await connection.execute("SELECT set_config(%s, %s, true)", [f"headrace.{name}", value])
            cursor = await connection.execute(
                "SELECT count(*) FROM nearest(%s::bigint[], %s::real[], '{}', 50, '{}', 100)",
                [ids, [0.1] * kit.DIMENSIONS],
            )
            assert (await cursor.fetchone())[0] == expected


async def test_the_graph_of_a_removed_collection_goes(part, replica):
    await replica.call("DeleteCollection", pb.DeleteCollectionRequest(name="many"))
    async with await psycopg.AsyncConnection.connect(part.dsn, autocommit=True) as connection:

        async def left() -> int:
            await connection.execute("SET headrace.system = 'on'")
            await connection.execute("DELETE FROM retrieval.collections WHERE deleted_at IS NOT NULL")
            await connection.execute("SELECT retrieval.drop_graphs()")
            cursor = await connection.execute("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'vectors_graph_%'")
            return (await cursor.fetchone())[0]

        await kit.eventually(left, lambda count: count == 0)
