"""Index versions by API: built beside the active one, taken over in one step, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from headrace_kit.config import Environment
from headrace_kit.errors import BadInput, Conflict, Forbidden, NotFound
from headrace_kit.rpc import Peer
from headrace_kit.rpc.identity import Signer
from headrace_protos.retrieval.v1 import indexes_pb2
from headrace_protos.retrieval.v1 import messages_pb2 as pb

_spec = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)
document, eventually = kit.document, kit.eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG.replace(
    "collections:",
    "  other: {engine: triton-python, task: embed, model: words, dimensions: 64}\ncollections:",
)
LONG = "Water flows through the mill. " * 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part, CONFIG) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def replica(shared) -> AsyncIterator[kit.Replica]:
    shared.models.refusing = True
    shared.models.gate.set()
    yield shared
    shared.models.gate.set()


async def made(replica, **fields) -> str:
    name = f"c{uuid.uuid4().hex[:12]}"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name, **fields)))
    return name


async def versions(replica, name: str, **caller) -> list[tuple[str, str, int, int]]:
    answer = await replica.call("ListIndexes", indexes_pb2.ListIndexesRequest(collection=name), **caller)
    return [(one.state, one.embedding, one.max_tokens, one.overlap_tokens) for one in answer.indexes]


async def reindex(replica, name: str, *, caller=None, **fields) -> pb.Job:
    return await replica.call("Reindex", indexes_pb2.ReindexRequest(collection=name, **fields), **(caller or {}))


async def cancel(replica, name: str) -> None:
    await replica.call("CancelReindex", indexes_pb2.CancelReindexRequest(collection=name))


async def job(replica, id: str) -> pb.Job:
    return await replica.call("GetJob", pb.GetJobRequest(job=id))


async def test_another_model_takes_over_in_one_step_with_what_came_meanwhile(replica):
    name = await made(replica)
    await replica.ingest(name, document("a", LONG), document("gone", "Water that leaves."))
    assert await versions(replica, name) == [("active", "minilm", 200, 20)]
    replica.models.gate.clear()
    begun = await reindex(replica, name, embedding="other", max_tokens=32)
    assert (begun.kind, begun.documents, begun.done) == ("reindex", 2, 0)
    building = ("building", "other", 32, 16)
    assert await versions(replica, name) == [("active", "minilm", 200, 20), building]
    assert (await reindex(replica, name, embedding="other", max_tokens=32)).id == begun.id, "it goes on"
    await replica.ingest(name, document("late", "Water that came late."), wait=False)
    await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="gone"))
    assert await replica.ids(name, "water", mode=pb.SEARCH_MODE_BM25) == ["a"], "the old one serves"
    epoch = (await replica.call("GetCollection", pb.GetCollectionRequest(name=name))).epoch
    replica.models.gate.set()
    await eventually(lambda: versions(replica, name), lambda found: found == [("active", "other", 32, 16)])
    assert (await job(replica, begun.id)).state == "done"
    shown = await replica.call("GetCollection", pb.GetCollectionRequest(name=name))
    assert shown.embedding == "other" and shown.epoch > epoch
    found = await eventually(lambda: replica.search(name, "water", top_k=100), lambda found: len(found.results) > 3)
    assert {one.document_id for one in found.results} == {"a", "late"}
    spans = [(one.document_id, one.start) for one in found.results]
    assert len(spans) == len(set(spans)), "no passage is there twice"


async def test_one_that_is_being_built_is_replaced_or_given_up(replica):
    name = await made(replica)
    await replica.ingest(name, document("a", "Water."))
    replica.models.gate.clear()
    first = await reindex(replica, name, embedding="other")
    second = await reindex(replica, name, max_tokens=64, overlap_tokens=0)
    assert first.id != second.id
    assert (await versions(replica, name))[1:] == [("building", "minilm", 64, 0)]
    await cancel(replica, name)
    assert await versions(replica, name) == [("active", "minilm", 200, 20)]
    with pytest.raises(NotFound, match="being built"):
        await cancel(replica, name)
    replica.models.gate.set()
    assert await replica.ids(name, "water") == ["a"]
    again = await reindex(replica, name, again=True)
    await eventually(lambda: job(replica, again.id), lambda found: found.state == "done")
    await eventually(lambda: versions(replica, name), lambda found: len(found) == 1)
    assert await replica.ids(name, "water") == ["a"]


async def test_an_empty_collection_changes_at_once(replica):
    name = await made(replica)
    await reindex(replica, name, embedding="other")
    await eventually(lambda: versions(replica, name), lambda found: found == [("active", "other", 200, 20)])


async def test_what_cannot_be_is_refused_with_the_reason(replica):
    name = await made(replica)
    for fields, error, param in (
        ({}, Conflict, "embedding"),
        ({"embedding": "nowhere"}, BadInput, "collection.embedding"),
        ({"max_tokens": 8}, BadInput, "max_tokens"),
        ({"max_tokens": 32, "overlap_tokens": 17}, BadInput, "overlap_tokens"),
    ):
        with pytest.raises(error) as refused:
            await reindex(replica, name, **fields)
        assert refused.value.param == param, refused.value
    with pytest.raises(Conflict, match=r"collections\.handbook"):
        await reindex(replica, "handbook", embedding="other")
    for tenant, error in (("green", NotFound), ("blue", Forbidden)):
        with pytest.raises(error):
            await reindex(replica, "handbook", embedding="other", caller={"tenant": tenant})
    assert await versions(replica, name) == [("active", "minilm", 200, 20)]


@asynccontextmanager
async def victim(part, gate: str) -> AsyncIterator[kit.Replica]:
    """A replica in a process that is killed at the end of the block."""
    port, data_dir = kit.free_port(), part.platform.layout.data_dir
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("retrieval_victim.py")), str(data_dir), str(port), gate),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    signer = Signer("gateway", Environment(data_dir=data_dir).secrets_path / "signing")
    peer = Peer("retrieval", f"127.0.0.1:{port}", signer)
    try:
        async with asyncio.timeout(kit.WITHIN_S):
            assert await process.stdout.readline() == b"serving\n"
        yield kit.Replica(None, None, None, peer)
    finally:
        process.kill()
        await process.wait()
        await peer.close()


async def test_killed_in_the_middle_it_goes_on_and_does_nothing_twice(part, shared):
    name = await made(shared)
    ids = [f"d{number}" for number in range(600)]
    for at in range(0, len(ids), 200):
        await shared.ingest(name, *(document(id, f"Water of {id}.") for id in ids[at : at + 200]))
    shared.models.gate.clear()  # what this replica takes waits until the end

    async def finished(query: str, *values) -> dict:
        async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
            await connection.execute("SELECT set_config('headrace.system', 'on', true)")
            return dict(await (await connection.execute(query, values)).fetchall())

    done = "SELECT id, finished_at FROM retrieval.job_items WHERE job_id = %s AND state = 'done'"
    async with victim(part, "open") as dying:
        begun = await reindex(dying, name, max_tokens=32)
        await eventually(lambda: finished(done, begun.id), lambda found: len(found) > 0)
    before = await finished(done, begun.id)
    async with victim(part, "open"):
        await eventually(lambda: finished(done, begun.id), lambda found: len(found) >= len(ids) - 256)
        shared.models.gate.set()
        await eventually(lambda: versions(shared, name), lambda found: found == [("active", "minilm", 32, 16)])
    after = await finished(done, begun.id)
    assert len(after) == len(ids) and {id: after[id] for id in before} == before
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        await connection.execute("SELECT set_config('headrace.system', 'on', true)")
        rows = await connection.execute(
            "SELECT d.id, count(*) FROM retrieval.chunks k JOIN retrieval.documents d ON d.pk = k.document_pk "
            "JOIN retrieval.collections c ON c.id = d.collection_id WHERE c.name = %s GROUP BY d.id",
            [name],
        )
        assert dict(await rows.fetchall()) == dict.fromkeys(ids, 1), "each once, and nothing of the old version"
