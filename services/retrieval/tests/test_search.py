"""The search pipeline over fakes: what is asked of whom, what is left out when a part is away."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_kit.errors import BadInput, Forbidden, NotFound, NotReady, Upstream
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.model import Collection, CollectionSpec, IndexSpec, Mode, Passage, Query
from headrace_retrieval.domain.ordering import Freshness
from headrace_retrieval.domain.residency import anywhere
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
        self.sizes: dict[int, int] = {}

    async def search(self, index_id, text, readers, wanted, limit):
        self.asked.append((index_id, readers))
        return self.hits.get(f"i{index_id}", [])

    def at_most(self, index_id, readers, wanted):
        return self.sizes.get(index_id, 0)


class Record:
    """Passages by chunk, and vector hits; reads only what it still has."""

    def __init__(self, nearest, gone=()) -> None:
        self._nearest = nearest
        self._gone = gone
        self.asked: list = []

    @asynccontextmanager
    async def view(self, caller):
        yield self

    async def nearest(self, index_ids, vector, wanted, limit, few=()):
        self.asked.append(tuple(index_ids))
        self.few = tuple(few)
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


def searching(index: Index, record: Record, models, *collections: Collection, permits=anywhere) -> Search:
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
        permits,
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
    assert found.hits[0].scores == {"bm25": 1 / 3, "vector": 1.0, "fused": pytest.approx(1 / 6 + 1 / 2)}
    assert found.hits[0].score == found.hits[0].scores["fused"]
    assert (found.epochs, found.degraded) == ({"a": 11}, frozenset())


@pytest.mark.parametrize(("mode", "stage"), [(Mode.BM25, "bm25"), (Mode.VECTOR, "vector")])
async def test_a_single_way_asks_only_its_own_part(mode, stage):
    index, record = Index(i1=hits(1)), Record(hits(2))
    found = await searching(index, record, There() if mode is Mode.VECTOR else Away())(RED, query(mode=mode))
    assert [set(hit.scores) for hit in found.hits] == [{stage}]
    assert (bool(index.asked), bool(record.asked)) == (mode is Mode.BM25, mode is Mode.VECTOR)


async def test_reranking_weighs_the_cross_encoder_with_the_order_before():
    models = There()
    found = await searching(Index(i1=hits(1, 2, 3, 4, 5)), Record([]), models)(RED, query(rerank=True))
    assert models.reranked == ["text 1", "text 2", "text 3", "text 4"], "the best candidates alone"
    wanted = {number: (1 / number + 1 / (1 + math.exp(-number))) / 2 for number in (1, 2, 3, 4)}
    assert numbers(found) == sorted(wanted, key=wanted.get, reverse=True)[:3]
    assert found.hits[0].score == found.hits[0].scores["rerank"] == pytest.approx(wanted[1])
    assert [hit.scores["cross_encoder"] for hit in found.hits] == numbers(found)


TEXTS = {1: "boats pay two coins", 2: "boats pay two coins too", 3: "gates open at seven", 4: "dogs wait outside"}
DAYS = {1: "2020-01-01", 2: "2020-01-01", 3: "2999-01-01"}


class Told(Record):
    """Passages with texts and dates of their own: 1 and 2 say the same, 3 is new, 4 has no date."""

    async def read(self, index_ids, chunk_ids):
        found = await super().read(index_ids, chunk_ids)
        return {
            chunk: replace(
                passage,
                text=TEXTS[chunk.int],
                metadata={"day": DAYS[chunk.int]} if chunk.int in DAYS else {},
            )
            for chunk, passage in found.items()
        }


LEXICAL = [(UUID(int=1), 1.0), (UUID(int=2), 0.9), (UUID(int=3), 0.6), (UUID(int=4), 0.5)]


@pytest.mark.parametrize(
    ("fields", "order", "stages"),
    [
        ({}, [1, 2], set()),
        ({"diversity": 0.5}, [1, 3], {"varied"}),
        ({"freshness": Freshness("day", 86_400)}, [3, 4], {"fresh"}),
        ({"diversity": 0.5, "freshness": Freshness("day", 1e8)}, [3, 4], {"fresh", "varied"}),
    ],
    ids=["neither", "diversity", "freshness", "both"],
)
async def test_what_is_old_or_was_said_goes_back_and_the_scores_say_so(fields, order, stages):
    search = searching(Index(i1=LEXICAL), Told([]), Away())
    found = await search(RED, query(mode=Mode.BM25, top_k=2, **fields))
    assert numbers(found) == order
    for hit in found.hits:
        assert set(hit.scores) == {"bm25", *stages}
        assert hit.score == hit.scores[next((name for name in ("varied", "fresh") if name in stages), "bm25")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"diversity": 1.5}, "diversity"),
        ({"diversity": math.nan}, "diversity"),
        ({"window": 41}, "window"),
        ({"freshness": Freshness("", 5)}, "freshness"),
        ({"freshness": Freshness("day", 0)}, "freshness"),
    ],
    ids=["too much", "no number", "too wide", "no field", "no half-life"],
)
async def test_an_order_that_cannot_be_is_refused(fields, param):
    with pytest.raises(BadInput) as refused:
        await searching(Index(), Record([]), Away())(RED, query(**fields))
    assert refused.value.param == param


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


async def test_texts_go_only_to_deployments_that_all_their_tenants_allow():
    models = There()
    ours, theirs = collection(1, "red", "a"), collection(2, "blue", "b")

    def permits(tenant, deployment):
        return (tenant, deployment) not in {("blue", "reranker"), ("green", "minilm")}

    search = searching(Index(i1=hits(1, 2), i2=hits(101)), Record(hits(2)), models, ours, theirs, permits=permits)
    assert (await search(RED, query("a", rerank=True))).degraded == frozenset()
    models.reranked = []
    assert (await search(RED, query("a", "b", rerank=True))).degraded == {"rerank"}, (
        "passages of blue are not sent there"
    )
    assert models.reranked == []
    green = Caller("green")
    assert (await search(green, query("red/a"))).degraded == {"vector"}
    with pytest.raises(Forbidden, match="minilm"):
        await search(green, query("red/a", mode=Mode.VECTOR))
