"""Retrieval on real PostgreSQL, pgvector and tantivy, called over gRPC as the gateway calls it."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest
import pytest_asyncio

from headrace_kit.errors import BadInput, Conflict, DeadlineExceeded, Forbidden, NotFound, Upstream
from headrace_protos.retrieval.v1 import messages_pb2 as pb


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kit = _load("retrieval_replica")
document, eventually = kit.document, kit.eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
BM25 = pb.SEARCH_MODE_BM25


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part) as running:
        yield running


@pytest.fixture
def replica(shared) -> kit.Replica:
    """A replica whose models are there."""
    shared.models.away = False
    shared.models.gate.set()
    return shared


@pytest_asyncio.fixture(loop_scope="module")
async def name(replica) -> str:
    """A fresh collection of tenant red without ACLs."""
    name = f"c{uuid.uuid4().hex[:12]}"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name)))
    return name


async def test_an_ingested_document_is_found_with_its_exact_span(replica, name):
    text = "# Water 💧\n\nThe headrace brings water to the turbine.\n\n## Leave\n\nThirty days of leave a year. 😀"
    answer = await replica.ingest(name, document("guide", text, title="Guide", metadata={"year": 2026, "tags": ["a"]}))
    assert answer.accepted == 1
    for mode in (pb.SEARCH_MODE_BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID):
        found = await replica.search(name, "days of leave", mode=mode, explain=True)
        passage = found.results[0]
        assert (passage.document_id, passage.title, passage.collection) == ("guide", "Guide", name)
        assert "Thirty days" in passage.text
        stored = await replica.call("GetDocument", pb.GetDocumentRequest(collection=name, document_id="guide"))
        assert stored.text == text
        assert text[passage.start : passage.end] == passage.text
        assert dict(passage.metadata) == {"year": 2026, "tags": ["a"]}
        assert passage.score == next(iter(passage.scores.values())) or mode == pb.SEARCH_MODE_HYBRID
    assert set(passage.scores) >= {"bm25", "vector", "fused"} and passage.score == passage.scores["fused"]
    job = await replica.call("GetJob", pb.GetJobRequest(job=answer.job))
    assert (job.state, job.documents, job.done, list(job.errors)) == ("done", 1, 1, [])


async def test_a_replaced_document_stays_as_it_was_until_the_new_text_is_searchable(replica, name):
    await replica.ingest(name, document("a", "The old turbine is red."))
    before = await replica.search(name, "turbine")
    replica.models.gate.clear()
    await replica.ingest(name, document("a", "The new turbine is green."), wait=False)
    assert [passage.text for passage in (await replica.search(name, "turbine", mode=BM25)).results] == [
        "The old turbine is red."
    ]
    stored = await replica.call("GetDocument", pb.GetDocumentRequest(collection=name, document_id="a"))
    assert stored.text == "The old turbine is red.", "spans of what is found point into what is returned"
    replica.models.gate.set()
    await eventually(lambda: replica.ids(name, "green", mode=BM25), lambda ids: ids == ["a"])
    after = await replica.search(name, "turbine")
    assert [passage.text for passage in after.results] == ["The new turbine is green."]
    assert after.epochs[name] > before.epochs[name]


async def test_unchanged_text_is_not_embedded_again_and_its_rights_change_at_once(replica, name):
    await replica.ingest(name, document("a", "Water flows.", metadata={"lang": "en"}))
    embedded = len(replica.models.embedded)
    before = (await replica.search(name, "water", mode=BM25)).epochs[name]
    replica.models.away = True
    await replica.ingest(name, document("a", "Water flows.", pb.Acl(users=["ana"]), metadata={"lang": "de"}))
    assert await replica.ids(name, "water", mode=BM25) == []
    found = await replica.search(name, "water", mode=BM25, user="ana", filter={"lang": "de"})
    assert [passage.document_id for passage in found.results] == ["a"]
    assert found.epochs[name] > before
    assert len(replica.models.embedded) == embedded


async def test_a_right_ends_with_the_new_version_even_before_that_is_searchable(replica, name):
    await replica.ingest(name, document("a", "Plans of ana and ben.", pb.Acl(users=["ana", "ben"])))
    assert await replica.ids(name, "plans", user="ben") == ["a"]
    replica.models.gate.clear()
    await replica.ingest(
        name, document("a", "Secret plans of ana and cleo.", pb.Acl(users=["ana", "cleo"])), wait=False
    )
    for mode in (BM25, pb.SEARCH_MODE_HYBRID):
        replica.models.away = True
        assert await replica.ids(name, "plans", user="ben", mode=mode) == []
        assert await replica.ids(name, "plans", user="cleo", mode=mode) == [], "the old text is not hers"
        assert await replica.ids(name, "plans", user="ana", mode=mode) == ["a"]
    replica.models.away = False
    replica.models.gate.set()
    await eventually(lambda: replica.ids(name, "secret", user="cleo"), lambda ids: ids == ["a"])
    assert await replica.ids(name, "plans", user="ben") == []


async def test_deleted_documents_and_collections_are_gone_at_once(replica, name):
    await replica.ingest(name, document("a", "Water one."), document("b", "Water two."))
    before = (await replica.search(name, "water")).epochs[name]
    await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="a"))
    found = await replica.search(name, "water")
    assert [passage.document_id for passage in found.results] == ["b"]
    assert found.epochs[name] > before
    for method, request in (
        ("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="a")),
        ("GetDocument", pb.GetDocumentRequest(collection=name, document_id="a")),
    ):
        with pytest.raises(NotFound):
            await replica.call(method, request)
    await replica.call("DeleteCollection", pb.DeleteCollectionRequest(name=name))
    with pytest.raises(NotFound):
        await replica.search(name, "water")
    made = await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name)))
    assert made.epoch > found.epochs[name], "an old epoch never comes back under the same name"
    assert await replica.ids(name, "water") == []


async def test_a_deletion_wins_over_an_ingestion_that_is_under_way(replica, name):
    replica.models.gate.clear()
    answer = await replica.ingest(name, document("a", "Water."), wait=False)
    await eventually(
        lambda: replica.call("GetJob", pb.GetJobRequest(job=answer.job)), lambda job: job.state == "running"
    )
    await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="a"))
    replica.models.gate.set()
    await eventually(lambda: replica.call("GetJob", pb.GetJobRequest(job=answer.job)), lambda job: job.state == "done")
    assert await replica.ids(name, "water") == []


async def test_what_the_model_refuses_is_named_and_the_rest_is_searchable(replica, name):
    documents = [document(f"d{n}", f"Water number {n}.") for n in range(5)]
    documents.insert(2, document("bad", f"{kit.REFUSED} water"))
    with pytest.raises(BadInput, match=r"1 of 6 documents.*'bad': the model cannot read this"):
        await replica.ingest(name, *documents)
    assert sorted(await replica.ids(name, "water")) == [f"d{n}" for n in range(5)]
    listed = await replica.call("ListDocuments", pb.ListDocumentsRequest(collection=name))
    assert {info.id: info.searchable for info in listed.documents} == {
        "bad": False,
        **{f"d{n}": True for n in range(5)},
    }
    page = await replica.call("ListDocuments", pb.ListDocumentsRequest(collection=name, limit=2, after="d1"))
    assert [info.id for info in page.documents] == ["d2", "d3"]


async def test_without_inference_documents_wait_and_search_goes_on_with_words_alone(replica, name):
    await replica.ingest(name, document("a", "Water flows."))
    replica.models.away = True
    with pytest.raises(DeadlineExceeded, match="will be searchable"):
        await replica.ingest(name, document("b", "Water falls."), timeout_s=1)
    found = await replica.search(name, "water", explain=True, rerank=True)
    assert [(passage.document_id, set(passage.scores)) for passage in found.results] == [("a", {"bm25"})]
    with pytest.raises(Upstream):
        await replica.search(name, "water", mode=pb.SEARCH_MODE_VECTOR)
    replica.models.away = False
    await eventually(lambda: replica.ids(name, "falls", mode=BM25), lambda ids: ids == ["b"])


async def test_what_stands_around_a_passage_comes_with_it_and_its_span_says_so(replica, name):
    parts = [f"Part {number} tells of gates and locks. " + "Water runs on and on. " * 40 for number in range(6)]
    parts[3] = parts[3].replace("gates", "otters")
    text = "# Canals\n\n" + "\n\n".join(parts) + "\n\n# Mills\n\nMills grind corn."
    await replica.ingest(name, document("book", text))
    plain = (await replica.search(name, "otters", mode=BM25)).results
    wide = (await replica.search(name, "otters", mode=BM25, window=1)).results
    section = (await replica.search(name, "otters", mode=BM25, section=True)).results
    for found in (plain, wide, section):
        assert [text[one.start : one.end] for one in found] == [one.text for one in found]
    assert len(plain[0].text) < len(wide[0].text) < len(section[0].text)
    assert "Part 0" in section[0].text
    assert "Mills" not in section[0].text
    # Several pieces of one section are one passage then.
    assert len((await replica.search(name, "water", mode=BM25)).results) > 1
    assert len((await replica.search(name, "water", mode=BM25, section=True)).results) == 1


async def test_filters_hold_inside_both_searches(replica, name):
    await replica.ingest(
        name,
        *[
            document(f"{lang}{year}", "Water flows.", metadata={"lang": lang, "year": year, "tags": ["t", lang]})
            for lang in ("en", "de", "fr")
            for year in (2025, 2026)
        ],
    )
    for mode in (BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID):
        for wanted, expected in (
            ({"year": 2026}, ["de2026", "en2026", "fr2026"]),
            ({"lang": ["en", "de"], "year": 2025}, ["de2025", "en2025"]),
            ({"tags": "fr"}, ["fr2025", "fr2026"]),
            ({"lang": "it"}, []),
        ):
            assert sorted(await replica.ids(name, "water", mode=mode, filter=wanted)) == expected


async def test_several_collections_are_merged(replica, name):
    other = f"{name}-two"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=other)))
    await replica.ingest(name, document("a", "Water in one."))
    await replica.ingest(other, document("a", "Water in two."))
    found = await replica.search([name, other], "water")
    assert sorted((passage.collection, passage.text) for passage in found.results) == [
        (name, "Water in one."),
        (other, "Water in two."),
    ]
    assert set(found.epochs) == {name, other}


async def test_reranking_orders_the_candidates_anew(replica, name):
    await replica.ingest(
        name,
        document("long", "Water water water " + "and other things " * 20),
        document("both", "The gate lets water through."),
    )
    found = await replica.search(name, "water gate", rerank=True, explain=True)
    assert found.results[0].document_id == "both"
    assert all(passage.score == passage.scores["rerank"] for passage in found.results)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (pb.IngestRequest(documents=[]), "documents"),
        (pb.IngestRequest(documents=[pb.Document(id="a", text=" \n")]), "documents[0].text"),
        (pb.IngestRequest(documents=[pb.Document(id="a", text="x\0y")]), "documents[0].text"),
        (pb.IngestRequest(documents=[pb.Document(id="", text="x")]), "documents[0].id"),
        (pb.IngestRequest(documents=[pb.Document(id="a\nb", text="x")]), "documents[0].id"),
        (pb.IngestRequest(documents=[pb.Document(id="i" * 513, text="x")]), "documents[0].id"),
        (pb.IngestRequest(documents=[pb.Document(id="a", text="x"), pb.Document(id="a", text="y")]), "documents[1].id"),
        (pb.IngestRequest(documents=[pb.Document(id="a", text="x" * 10_485_761)]), "documents[0].text"),
        (
            pb.IngestRequest(documents=[pb.Document(id="a", text="x", acl=pb.Acl(users=[""]))]),
            "documents[0].acl.users[0]",
        ),
        (pb.IngestRequest(documents=[pb.Document(id="a", text="x", content_type="a/b")]), "documents[0].content_type"),
        (pb.SearchRequest(query="  "), "query"),
        (pb.SearchRequest(query="x" * 8193), "query"),
        (pb.SearchRequest(query="x", top_k=101), "top_k"),
        (pb.CreateCollectionRequest(collection=pb.Collection(name="Not A Name")), "collection.name"),
        (pb.CreateCollectionRequest(collection=pb.Collection(name="x", embedding="none")), "collection.embedding"),
        (pb.ListDocumentsRequest(limit=1001), "limit"),
    ],
    ids=[
        "no-documents",
        "empty-text",
        "nul",
        "no-id",
        "control-in-id",
        "long-id",
        "twice",
        "large",
        "empty-reader",
        "content-type",
        "empty-query",
        "long-query",
        "top-k",
        "collection-name",
        "embedding",
        "limit",
    ],
)
async def test_bad_input_is_refused_with_the_field(replica, name, request_, param):
    method = type(request_).__name__.removesuffix("Request")
    if isinstance(request_, pb.IngestRequest | pb.ListDocumentsRequest):
        request_.collection = name
    if isinstance(request_, pb.SearchRequest):
        request_.collections[:] = [name]
    with pytest.raises(BadInput) as refused:
        await replica.call(method, request_)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("method", "request_", "caller", "error"),
    [
        ("GetCollection", pb.GetCollectionRequest(name="a\0"), {}, NotFound),
        ("GetCollection", pb.GetCollectionRequest(name=""), {}, NotFound),
        ("GetCollection", pb.GetCollectionRequest(name="x" * 1000), {}, NotFound),
        ("Search", pb.SearchRequest(collections=["handbook", "a\0"], query="x"), {}, NotFound),
        ("Search", pb.SearchRequest(collections=["handbook"], query="x\0y"), {"user": "a\0"}, BadInput),
        ("GetDocument", pb.GetDocumentRequest(collection="handbook", document_id="a\0"), {}, BadInput),
        ("DeleteDocument", pb.DeleteDocumentRequest(collection="handbook", document_id="\0"), {}, BadInput),
        ("ListDocuments", pb.ListDocumentsRequest(collection="handbook", after="\0"), {}, BadInput),
        ("GetJob", pb.GetJobRequest(job="\0"), {}, NotFound),
        ("ListCollections", pb.ListCollectionsRequest(), {"tenant": ""}, Forbidden),
    ],
    ids=["nul", "empty", "long", "second", "user", "get", "delete", "after", "job", "no-tenant"],
)
async def test_names_that_cannot_be_are_never_an_error_of_ours(replica, method, request_, caller, error):
    with pytest.raises(error):
        await replica.call(method, request_, **caller)


async def test_a_query_with_strange_characters_is_only_a_query(replica, name):
    await replica.ingest(name, document("ä/b c%", "Wasser für Ána.", pb.Acl(users=['ána,"{x}"', "b\\c"])))
    for user in ('ána,"{x}"', "b\\c"):
        assert await replica.ids(name, "wasser\0 'fur' \\ %s {}", user=user) == ["ä/b c%"]
    assert await replica.ids(name, "wasser", user="ána") == []


async def test_making_a_collection_again_is_fine_only_with_the_same_settings(replica, name):
    request = pb.CreateCollectionRequest(collection=pb.Collection(name=name))
    assert (await replica.call("CreateCollection", request)).name == name
    request.collection.acl = pb.ACL_MODE_REQUIRED
    with pytest.raises(Conflict):
        await replica.call("CreateCollection", request)
    with pytest.raises(Conflict, match="config"):
        await replica.call("DeleteCollection", pb.DeleteCollectionRequest(name="handbook"))
    with pytest.raises(NotFound):
        await replica.call("GetJob", pb.GetJobRequest(job=str(uuid.uuid4())))


async def test_a_shared_collection_may_be_read_by_its_rights_and_not_written(replica):
    id = uuid.uuid4().hex
    await replica.ingest(
        "handbook",
        document(f"{id}-open", f"Open {id}.", pb.Acl(public=True)),
        document(f"{id}-team", f"Team {id}.", pb.Acl(groups=["staff"])),
        document(f"{id}-none", f"None {id}.", pb.Acl()),
    )

    async def seen(**caller) -> list[str]:
        return sorted(one.removeprefix(id)[1:] for one in await replica.ids("handbook", id, **caller))

    assert await seen() == ["open"]
    assert await seen(groups=["staff"]) == ["open", "team"]
    assert await seen(scopes=["read_all"]) == ["none", "open", "team"]
    assert await seen(scopes=["read_all"], user="ana") == ["open"], "who asks for a user sees what the user sees"
    assert await seen(tenant="blue") == ["open"]
    assert await seen(tenant="blue", groups=["staff"]) == ["open", "team"]
    assert await seen(tenant="blue", scopes=["read_all"]) == ["open"], "it counts for the tenant's own collections"
    with pytest.raises(NotFound):
        await seen(tenant="green")
    with pytest.raises(Forbidden):
        await replica.ingest("handbook", document("x", "y", pb.Acl(public=True)), tenant="blue")
    with pytest.raises(NotFound):
        await replica.ingest("handbook", document("x", "y", pb.Acl(public=True)), tenant="green")
    with pytest.raises(BadInput, match="acl"):
        await replica.ingest("handbook", document("x", "y"))
    with pytest.raises(NotFound):
        request = pb.GetDocumentRequest(collection="handbook", document_id=f"{id}-team")
        await replica.call("GetDocument", request, tenant="blue")
    named = await replica.call("ListCollections", pb.ListCollectionsRequest(), tenant="green")
    assert list(named.collections) == []
