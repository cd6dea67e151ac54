"""Jobs and dead letters: who sees them, and what becomes of them."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import BadInput, Conflict, NotFound
from headrace_protos.retrieval.v1 import jobs_pb2 as jobs_pb
from headrace_protos.retrieval.v1 import messages_pb2 as pb

_spec = importlib.util.spec_from_file_location("retrieval_replica", Path(__file__).with_name("retrieval_replica.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)
document, eventually = kit.document, kit.eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
BAD = f"{kit.REFUSED} water"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(part) -> AsyncIterator[kit.Replica]:
    async with kit.serving(part) as running:
        yield running


@pytest.fixture
def replica(shared) -> kit.Replica:
    """A replica whose model is there, and refuses what it refuses."""
    shared.models.refusing = True
    shared.models.gate.set()
    return shared


@pytest_asyncio.fixture(loop_scope="module")
async def name(replica) -> str:
    name = f"c{uuid.uuid4().hex[:12]}"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name)))
    return name


async def finished(replica, job: str) -> pb.Job:
    return await eventually(
        lambda: replica.call("GetJob", pb.GetJobRequest(job=job)), lambda found: found.state in ("done", "failed")
    )


async def dead(replica, name: str, **caller) -> list[jobs_pb.DeadLetter]:
    caller = {"scopes": ["read_all"], **caller}
    answer = await replica.call("ListDeadLetters", jobs_pb.ListDeadLettersRequest(collection=name), **caller)
    return list(answer.dead_letters)


async def retry(replica, name: str, *ids: str, **caller) -> int:
    request = jobs_pb.RetryDeadLettersRequest(collection=name, ids=ids, all=not ids)
    return (await replica.call("RetryDeadLetters", request, **caller)).retried


async def drop(replica, name: str, *ids: str, **caller) -> int:
    request = jobs_pb.DropDeadLettersRequest(collection=name, ids=ids, all=not ids)
    return (await replica.call("DropDeadLetters", request, **caller)).dropped


async def test_jobs_tell_how_far_they_are(replica, name):
    first = await replica.ingest(name, document("a", "Water."), document("b", BAD), wait=False)
    found = await finished(replica, first.job)
    assert (found.kind, found.documents, found.done, found.failed) == ("ingest", 2, 1, 1)
    replica.models.gate.clear()
    second = await replica.ingest(name, document("c", "More water."), wait=False)

    async def jobs(**fields) -> list[tuple[str, str]]:
        answer = await replica.call("ListJobs", jobs_pb.ListJobsRequest(collection=name, **fields))
        return [(job.id, job.state) for job in answer.jobs]

    await eventually(jobs, lambda found: found == [(second.job, "running"), (first.job, "failed")])
    assert await jobs(state="failed") == [(first.job, "failed")]
    assert await jobs(after=second.job) == [(first.job, "failed")]
    assert len(await jobs(limit=1)) == 1
    replica.models.gate.set()
    await eventually(lambda: jobs(state="done"), lambda found: found == [(second.job, "done")])


async def test_what_was_given_up_says_why_and_is_tried_again(replica, name):
    answer = await replica.ingest(name, document("bad", BAD), document("good", "Water."), wait=False)
    await finished(replica, answer.job)
    (letter,) = await dead(replica, name)
    assert (letter.document_id, letter.reason, letter.job) == ("bad", "the model cannot read this", answer.job)
    assert letter.attempts == 1 and not letter.building
    assert await retry(replica, name, letter.id) == 1
    assert (await finished(replica, answer.job)).failed == 1, "the model still refuses it"
    replica.models.refusing = False
    assert await retry(replica, name) == 1
    assert (await finished(replica, answer.job)).state == "done"
    await eventually(lambda: replica.ids(name, kit.REFUSED, mode=pb.SEARCH_MODE_BM25), lambda ids: ids == ["bad"])
    assert await dead(replica, name) == [] and await retry(replica, name) == 0


async def test_a_dropped_text_leaves_what_was_searchable_before(replica, name):
    await replica.ingest(name, document("a", "Old water."))
    answer = await replica.ingest(name, document("a", BAD), document("new", BAD), wait=False)
    await finished(replica, answer.job)
    assert [letter.document_id for letter in await dead(replica, name)] == ["a", "new"]
    assert await drop(replica, name) == 2
    assert await dead(replica, name) == []
    assert await replica.ids(name, "old water") == ["a"]
    with pytest.raises(NotFound):
        await replica.call("GetDocument", pb.GetDocumentRequest(collection=name, document_id="new"))
    await replica.ingest(name, document("a", "Newer water."))
    assert [one.text for one in (await replica.search(name, "water")).results] == ["Newer water."]


async def test_a_failure_that_was_settled_since_is_no_dead_letter(replica, name):
    answer = await replica.ingest(name, document("a", BAD), document("b", BAD), wait=False)
    await finished(replica, answer.job)
    await replica.ingest(name, document("a", "Water."))
    await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="b"))
    assert await dead(replica, name) == []


async def test_dead_letters_are_shown_to_who_may_read_the_document_and_are_their_tenants_own(replica, name):
    answer = await replica.ingest(name, document("a", BAD, pb.Acl(users=["ana"])), wait=False)
    await finished(replica, answer.job)
    (letter,) = await dead(replica, name, scopes=[], user="ana")
    assert await dead(replica, name, scopes=[]) == [] == await dead(replica, name, scopes=[], user="ben")
    for call in (dead(replica, name, tenant="blue"), drop(replica, name, letter.id, tenant="blue")):
        with pytest.raises(NotFound):
            await call
    for ids in (["0"], ["x"], ["9" * 30], [letter.id, "0"]):
        with pytest.raises(NotFound, match="there is no dead letter"):
            await drop(replica, name, *ids)
    for request in (
        jobs_pb.DropDeadLettersRequest(collection=name),
        jobs_pb.DropDeadLettersRequest(collection=name, ids=[letter.id], all=True),
    ):
        with pytest.raises(BadInput):
            await replica.call("DropDeadLetters", request)
    with pytest.raises(BadInput, match="state"):
        await replica.call("ListJobs", jobs_pb.ListJobsRequest(collection=name, state="lost"))
    assert len(await dead(replica, name)) == 1


async def test_dead_letters_outlive_their_jobs_time(part, replica, name):
    answer = await replica.ingest(name, document("a", BAD), wait=False)
    await finished(replica, answer.job)
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        await connection.execute("SELECT set_config('headrace.system', 'on', true)")
        await connection.execute("UPDATE retrieval.jobs SET created_at = created_at - interval '30 days'")
    async with kit.serving(part):  # a worker cleans up when it begins
        assert len(await dead(replica, name)) == 1


async def test_a_new_index_version_waits_for_what_it_lacks_and_takes_over_when_that_is_settled(part):
    """`bad` was searchable under the old model, and the new one refuses it."""
    config = kit.CONFIG.replace("collections:\n", "collections:\n  manual: {tenant: red}\n")
    async with kit.serving(part, config) as replica:
        replica.models.refusing = False
        await replica.ingest("manual", document("bad", BAD), document("worse", BAD), document("good", "Water."))
        replica.models.refusing = True
        smaller = config.replace(
            "manual: {tenant: red}", "manual: {tenant: red, chunking: {max_tokens: 32, overlap_tokens: 4}}"
        )
        replica.runtime.configs.replace(Snapshot(parse(smaller), Path("headrace.yaml")))
        letters = await eventually(lambda: dead(replica, "manual"), lambda found: len(found) == 2)
        assert all(letter.building for letter in letters)
        with pytest.raises(Conflict, match="index version"):
            await drop(replica, "manual", letters[0].id)
        assert sorted(await replica.ids("manual", "water")) == ["bad", "good", "worse"], "the old one serves"
        # Replaced, and deleted: nothing is lacking any more.
        await replica.ingest("manual", document("bad", "Water that can be read."))
        await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection="manual", document_id="worse"))

        async def versions() -> list[int]:
            async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
                await connection.execute("SELECT set_config('headrace.system', 'on', true)")
                rows = await connection.execute(
                    "SELECT i.max_tokens FROM retrieval.indexes i JOIN retrieval.collections c "
                    "ON c.id = i.collection_id WHERE c.name = 'manual'"
                )
                return [tokens for (tokens,) in await rows.fetchall()]

        await eventually(versions, lambda found: found == [32])
        assert sorted(await replica.ids("manual", "water")) == ["bad", "good"]
