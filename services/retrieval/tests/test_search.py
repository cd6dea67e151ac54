"""The search pipeline over fakes: what is asked of whom, what is left out when a part is away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_kit.errors import BadInput, NotFound, NotReady, Upstream
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.model import Collection, CollectionSpec, IndexSpec, Mode, Passage, Query
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.search import Options, Search
from headrace_retrieval.metrics import Metrics

RED = Caller("red", user="ana")
DIMENSIONS = 2


def collection(number: int, tenant: str, name: str, embedding: str = "minilm", dimensions=DIMENSIONS) -> Collection:
    spec = CollectionSpec(tenant, name, False, ("red",), IndexSpec(embedding, 200, 20))
    return Collection(UUID(int=number), spec, "api", 10 + number, datetime.now(UTC), number, dimensions)


class Store:
    def __init__(self, *collections: Collection) -> None:
        self._collections = collections

    async def named(self, caller, names):
        return [one for one in self._collections if one.spec.name in names]


class Index:
    """Lexical index and replica: the hits that it was given, by index version."""

    def __init__(self, **hits) -> None:
        self.hits = hits
        self.ready = True
        self.asked: list = []

    async def search(self, index_id, text, readers, wanted, limit):
        self.asked.append((index_id, readers))
        return self.hits.get(f"i{index_id}", [])


class Record:
    """Passages by chunk, and vector hits; reads only what it still has."""

    def __init__(self, nearest, gone=()) -> None:
        self._nearest = nearest
        self._gone = gone
        self.asked: list = []

    @asynccontextmanager
    async def view(self, caller):
        yield self

    async def nearest(self, index_ids, vector, wanted, limit):
        self.asked.append(tuple(index_ids))
        return self._nearest[:limit]

    async def read(self, index_ids, chunk_ids):
        return {
            chunk: Passage(
                chunk, UUID(int=1 + chunk.int // 100), f"d{chunk.int}", "", (), f"text {chunk.int}", 0, 5, None, {}
            )
            for chunk in chunk_ids
            if chunk.int not in self._gone
        }


class Away:
    async def embed(self, deployment, texts, *, tenant, limit_s):
        raise Upstream("away")

    async def rerank(self, deployment, query, texts, *, limit_s):
        raise Upstream("away")


class There:
    def __init__(self, dimensions: int = DIMENSIONS) -> None:
        self.dimensions = dimensions
        self.reranked: list[str] = []

    async def embed(self, deployment, texts, *, tenant, limit_s):
        return [b"\0" * 4 * self.dimensions for _ in texts]

    async def rerank(self, deployment, query, texts, *, limit_s):
        self.reranked = list(texts)
        return [float(text.split()[1]) for text in texts]


def hits(*numbers: int) -> list[tuple[UUID, float]]:
    return [(UUID(int=number), 1 / rank) for rank, number in enumerate(numbers, 1)]


def searching(index: Index, record: Record, models, *collections: Collection) -> Search:
    store = Store(*(collections or [collection(1, "red", "a")]))
    return Search(
        Collections(store, lambda: None),
        record,
        index,
        index,
        models,
        Metrics(CollectorRegistry()),
        NoOpTracer(),
        lambda: Options("reranker", candidates=10, rerank_candidates=4, model_limit_s=1),
    )


def query(*names: str, **fields) -> Query:
    given = {"top_k": 3, "mode": Mode.HYBRID, "rerank": False, **fields}
    return Query(names or ("a",), given.pop("text", "water"), **given)


def numbers(found) -> list[int]:
    return [hit.passage.chunk_id.int for hit in found.hits]


async def test_rankings_are_fused_and_what_the_record_lacks_is_replaced_by_the_next():
    search = searching(Index(i1=hits(1, 2, 3, 4)), Record(hits(3, 1, 5), gone=(1,)), There())
    found = await search(RED, query())
    assert numbers(found) == [3, 2, 5]
    assert found.hits[0].scores == {"bm25": 1 / 3, "vector": 1.0, "fused": 1 / 63 + 1 / 61}
    assert found.hits[0].score == found.hits[0].scores["fused"]
    assert (found.epochs, found.degraded) == ({"a": 11}, frozenset())


@pytest.mark.parametrize(("mode", "stage"), [(Mode.BM25, "bm25"), (Mode.VECTOR, "vector")])
async def test_a_single_way_asks_only_its_own_part(mode, stage):
    index, record = Index(i1=hits(1)), Record(hits(2))
    found = await searching(index, record, There() if mode is Mode.VECTOR else Away())(RED, query(mode=mode))
    assert [set(hit.scores) for hit in found.hits] == [{stage}]
    assert (bool(index.asked), bool(record.asked)) == (mode is Mode.BM25, mode is Mode.VECTOR)


async def test_reranked_passages_come_in_the_rerankers_order():
    models = There()
    found = await searching(Index(i1=hits(1, 2, 3, 4, 5)), Record([]), models)(RED, query(rerank=True))
    assert numbers(found) == [4, 3, 2]
    assert models.reranked == ["text 1", "text 2", "text 3", "text 4"], "the best candidates alone"
    assert found.hits[0].score == found.hits[0].scores["rerank"] == 4.0


async def test_without_models_hybrid_goes_on_and_says_what_was_left_out():
    search = searching(Index(i1=hits(1, 2)), Record(hits(9)), Away())
    found = await search(RED, query(rerank=True))
    assert numbers(found) == [1, 2]
    assert found.degraded == {"vector", "rerank"}
    with pytest.raises(Upstream):
        await search(RED, query(mode=Mode.VECTOR))


async def test_a_model_with_other_dimensions_is_never_compared_with_old_vectors():
    search = searching(Index(i1=hits(1)), Record(hits(9)), There(dimensions=3))
    assert (await search(RED, query())).degraded == {"vector"}
    with pytest.raises(NotReady, match="other dimensions"):
        await search(RED, query(mode=Mode.VECTOR))


async def test_an_index_that_is_being_built_is_not_searched():
    index = Index(i1=hits(1))
    index.ready = False
    with pytest.raises(NotReady):
        await searching(index, Record([]), There())(RED, query())
    assert numbers(await searching(index, Record(hits(2)), There())(RED, query(mode=Mode.VECTOR))) == [2]


async def test_rights_go_into_the_query_and_reading_all_ends_at_other_tenants():
    index = Index()
    ours, theirs = collection(1, "red", "a"), collection(2, "blue", "b")
    search = searching(index, Record([]), There(), ours, theirs)
    await search(RED, query("a", "b", mode=Mode.BM25))
    await search(Caller("red", read_all=True), query("a", "b", mode=Mode.BM25))
    public = frozenset({"public"})
    assert index.asked == [(1, public | {"u:ana"}), (2, public | {"u:ana"}), (1, None), (2, public)]


async def test_collections_with_different_models_are_asked_apart():
    record = Record(hits(1))
    one, two, empty = (
        collection(1, "red", "a"),
        collection(2, "red", "b", embedding="other"),
        collection(3, "red", "c", embedding="third", dimensions=None),
    )
    found = await searching(Index(), record, There(), one, two, empty)(RED, query("a", "b", "c"))
    assert record.asked == [(1,), (2,)]
    assert found.degraded == frozenset()


async def test_names_mean_the_own_collection_first_and_may_say_the_tenant():
    search = searching(
        Index(i1=hits(1), i2=hits(102)), Record([]), There(), collection(1, "red", "a"), collection(2, "blue", "a")
    )
    assert (await search(RED, query("a", mode=Mode.BM25))).epochs == {"a": 11}
    assert (await search(RED, query("blue/a", mode=Mode.BM25))).epochs == {"blue/a": 12}
    with pytest.raises(BadInput, match="twice"):
        await search(RED, query("a", "red/a"))
    with pytest.raises(BadInput, match="several tenants"):
        await search(Caller("green"), query("a"))
    with pytest.raises(NotFound):
        await search(RED, query("green/a"))


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        (query(text=" \n"), "query"),
        (query(text="x" * 8193), "query"),
        (query(top_k=0), "top_k"),
        (query(top_k=101), "top_k"),
        (query(*[f"c{n}" for n in range(17)]), "collections"),
    ],
    ids=["empty", "long", "none", "many", "collections"],
)
async def test_what_cannot_be_searched_is_refused_with_the_field(wrong, param):
    with pytest.raises(BadInput) as refused:
        await searching(Index(), Record([]), There())(RED, wrong)
    assert refused.value.param == param
