"""What retrieval promises when things go wrong: nothing leaks, nothing accepted is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
import pytest_asyncio

from headrace_kit.config import Environment, Snapshot, parse
from headrace_kit.errors import DeadlineExceeded, HeadraceError, NotFound, NotReady
from headrace_kit.rpc import Peer
from headrace_kit.rpc.identity import Signer
from headrace_kit.stores.postgres import Postgres
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_retrieval.adapters.postgres.queue import PostgresQueue
from headrace_retrieval.adapters.postgres.session import Database


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
BM25, VECTOR, HYBRID = pb.SEARCH_MODE_BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID
TABLES = ("collections", "indexes", "documents", "revisions", "chunks", "vectors", "jobs", "job_items", "outbox")


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
    return await made(replica)


async def made(replica, **fields) -> str:
    name = f"c{uuid.uuid4().hex[:12]}"
    collection = pb.Collection(name=name, **fields)
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=collection))
    return name


async def count(connection, table: str) -> int:
    return (await (await connection.execute(f"SELECT count(*) FROM retrieval.{table}")).fetchone())[0]


async def test_sql_of_the_service_role_sees_nothing_without_saying_for_whom(part, replica):
    name = await made(replica, acl=pb.ACL_MODE_REQUIRED)
    await replica.ingest(
        name, document("open", "Open water.", pb.Acl(public=True)), document("ana", "Ana's.", pb.Acl(users=["ana"]))
    )
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        for table in TABLES:
            assert await count(connection, table) == 0, table
        # What a connection said in an earlier transaction is forgotten in the next.
        await connection.execute("SELECT set_config('headrace.system', 'on', true)")
        assert await count(connection, "chunks") > 0
        await connection.commit()
        for table in TABLES:
            assert await count(connection, table) == 0, table
        await connection.commit()

        async def documents_of(tenant: str, readers: str) -> set[str]:
            await connection.execute(
                "SELECT set_config('headrace.tenant', %s, true), set_config('headrace.readers', %s, true)",
                [tenant, readers],
            )
            rows = await (
                await connection.execute(
                    "SELECT d.id FROM retrieval.documents d JOIN retrieval.collections c ON c.id = d.collection_id "
                    "WHERE c.name = %s",
                    [name],
                )
            ).fetchall()
            counts = {table: await count(connection, table) for table in ("revisions", "chunks", "vectors")}
            assert len(set(counts.values())) == 1, "every table shows the same documents"
            await connection.commit()
            return {id for (id,) in rows}

        assert await documents_of("red", "{public}") == {"open"}
        assert await documents_of("red", "{public,u:ana}") == {"open", "ana"}
        assert await documents_of("red", "{g:ana}") == set()
        assert await documents_of("blue", "{public,u:ana}") == set()
        for statement in (
            "DELETE FROM retrieval.documents",
            "UPDATE retrieval.chunks SET readers = '{public}'",
            "UPDATE retrieval.collections SET shared_with = '{blue}'",
        ):
            await connection.execute("SELECT set_config('headrace.tenant', 'blue', true)")
            await connection.execute("SELECT set_config('headrace.whole', 'on', true)")
            assert (await connection.execute(statement)).rowcount == 0, statement
            await connection.commit()


async def test_no_caller_ever_sees_more_or_less_than_the_rights_say(replica):
    """Random documents and callers against the rule, written down again here."""
    dice = random.Random(7)
    users, groups = ["ana", "ben", "cleo"], ["staff", "board", "guests"]
    name = await made(replica, acl=pb.ACL_MODE_REQUIRED, shared_with=["blue"])
    rights = {}
    for number in range(60):
        acl = pb.Acl(
            users=dice.sample(users, dice.randint(0, 2)),
            groups=dice.sample(groups, dice.randint(0, 2)),
            public=dice.random() < 0.2,
        )
        rights[f"d{number}"] = acl
    await replica.ingest(name, *[document(id, f"Water of {id}.", acl) for id, acl in rights.items()])
    for _ in range(40):
        caller = {
            "tenant": dice.choice(["red", "blue"]),
            "user": dice.choice(["", *users]),
            "groups": dice.sample(groups, dice.randint(0, 2)),
            "scopes": dice.choice([(), ("read_all",)]),
        }
        everything = caller["tenant"] == "red" and caller["scopes"] and not caller["user"] and not caller["groups"]
        allowed = {
            id
            for id, acl in rights.items()
            if everything or acl.public or caller["user"] in acl.users or set(caller["groups"]) & set(acl.groups)
        }
        for mode in (BM25, VECTOR, HYBRID):
            assert sorted(await replica.ids(name, "water", mode=mode, top_k=100, **caller)) == sorted(allowed)
        listed = await replica.call("ListDocuments", pb.ListDocumentsRequest(collection=name), **caller)
        assert {info.id for info in listed.documents} == allowed
        id = dice.choice(list(rights))
        request = pb.GetDocumentRequest(collection=name, document_id=id)
        if id in allowed:
            assert (await replica.call("GetDocument", request, **caller)).id == id
        else:
            with pytest.raises(NotFound):
                await replica.call("GetDocument", request, **caller)


async def test_a_lexical_index_that_is_behind_misses_but_never_leaks(part, replica, name):
    await replica.ingest(name, document("a", "Water one."), document("b", "Water two."))
    async with kit.serving(part) as other:
        assert sorted(await other.ids(name, "water", mode=BM25)) == ["a", "b"]
        await replica.call("DeleteDocument", pb.DeleteDocumentRequest(collection=name, document_id="a"))
        assert await other.ids(name, "water", mode=BM25) == ["b"]
        await replica.ingest(name, document("b", "Water two.", pb.Acl(users=["ana"])))
        assert await other.ids(name, "water", mode=BM25) == []
        # And it catches up with what others do.
        await replica.ingest(name, document("c", "Water three."))
        await eventually(lambda: other.ids(name, "three", mode=BM25), lambda ids: ids == ["c"])


async def test_a_replica_that_missed_changes_builds_its_index_anew(part, replica, name):
    await replica.ingest(name, document("a", "Water."))
    async with kit.serving(part) as other, await psycopg.AsyncConnection.connect(part.dsn) as connection:
        before = other.metric("headrace_retrieval_lexical_position")
        async with connection.transaction():
            # As if both had slept through a day: the change is made and its outbox row removed unseen.
            await connection.execute("SELECT set_config('headrace.system', 'on', true)")
            await connection.execute("UPDATE retrieval.chunks SET text = 'Fire.' WHERE text = 'Water.'")
            await connection.execute("UPDATE retrieval.outbox_trimmed SET upto = %s", [int(before) + 1000])
            await connection.execute("SELECT nextval('retrieval.outbox_id') FROM generate_series(1, 1000)")
        await eventually(lambda: other.ids(name, "fire", mode=BM25), lambda ids: ids == ["a"])
        await eventually(lambda: replica.ids(name, "fire", mode=BM25), lambda ids: ids == ["a"])
        await replica.ingest(name, document("b", "Smoke."))
        assert await replica.ids(name, "smoke", mode=BM25) == ["b"]


async def test_the_newest_of_many_racing_versions_is_what_is_searchable(replica, name):
    async def write(number: int) -> None:
        await replica.ingest(name, document("a", f"Water version v{number}."), wait=False)

    await asyncio.gather(*(write(number) for number in range(12)))
    await replica.ingest(name, document("a", "Water version last."))
    found = await replica.search(name, "water version", top_k=100)
    assert [passage.text for passage in found.results] == ["Water version last."]


@asynccontextmanager
async def victim(part, gate: str) -> AsyncIterator[kit.Replica]:
    """A replica in a process that is killed at the end of the block."""
    port, data_dir = kit.free_port(), part.platform.layout.data_dir
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("retrieval_victim.py")), str(data_dir), str(port), gate),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    peer = Peer(
        "retrieval", f"127.0.0.1:{port}", Signer("gateway", Environment(data_dir=data_dir).secrets_path / "signing")
    )
    try:
        async with asyncio.timeout(kit.WITHIN_S):
            assert await process.stdout.readline() == b"serving\n"
        dying = kit.Replica(None, None, None, peer)
        dying.kill = process.kill
        yield dying
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await peer.close()


async def test_what_a_killed_replica_had_taken_is_finished_by_another(part, replica, name):
    replica.models.gate.clear()
    blocker = await replica.ingest(name, document("blocker", "Water held here."), wait=False)
    await eventually(lambda: state(replica, blocker.job), lambda found: found == "running")
    async with victim(part, "closed") as dying:
        answer = await dying.ingest(name, document("a", "Water kept."), wait=False)
        await eventually(lambda: state(replica, answer.job), lambda found: found == "running")
    replica.models.gate.set()
    await eventually(lambda: state(replica, answer.job), lambda found: found == "done")
    await eventually(lambda: replica.ids(name, "kept", mode=BM25), lambda ids: ids == ["a"])


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_every_acknowledged_document_is_there_exactly_once(part, replica, name, seed):
    dice = random.Random(seed)
    accepted: dict[str, str] = {}
    async with victim(part, "open") as dying:

        async def write(writer: int) -> None:
            for number in range(200):
                id = f"w{writer}-{number % 20}"
                text = f"Water round {number} of writer {writer}. " * dice.randint(1, 30)
                try:
                    await dying.ingest(name, document(id, text), wait=False)
                except HeadraceError:
                    return  # killed: whether this one was stored is not known
                accepted[id] = text

        writers = [asyncio.create_task(write(writer)) for writer in range(3)]

        async def stored() -> int:
            return len(accepted)

        await eventually(stored, bool)
        await asyncio.sleep(dice.uniform(0.0, 1.2))
        dying.kill()
        await asyncio.gather(*writers)
    assert accepted
    # What is ingested now waits behind all of it.
    await replica.ingest(name, document("end", "The end."))
    await eventually(lambda: queued(part), lambda left: left == 0)
    await replica.ingest(name, document("end", "The very end."))
    for id, text in accepted.items():
        stored = await replica.call("GetDocument", pb.GetDocumentRequest(collection=name, document_id=id))
        assert round_of(stored.text) >= round_of(text), "never older than what was acknowledged"
        found = await replica.search(name, f"water {id}", mode=BM25, top_k=100)
        spans = [(one.start, one.end) for one in found.results if one.document_id == id]
        assert len(spans) == len(set(spans)), "no passage is there twice"
        assert all(stored.text[one.start : one.end] == one.text for one in found.results if one.document_id == id)


def round_of(text: str) -> int:
    return int(text.split("round ")[1].split()[0])


async def state(replica, job: str) -> str:
    return (await replica.call("GetJob", pb.GetJobRequest(job=job))).state


async def queued(part) -> int:
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        await connection.execute("SELECT set_config('headrace.system', 'on', true)")
        rows = await connection.execute("SELECT count(*) FROM retrieval.job_items WHERE state = 'queued'")
        return (await rows.fetchone())[0]


async def test_without_postgresql_it_is_not_ready_and_says_so(part, monkeypatch):
    monkeypatch.setenv("HEADRACE_SECRET_POSTGRES_DSN", f"postgresql://nobody@127.0.0.1:{kit.free_port()}/none")
    async with kit.serving(part, ready=False) as alone:
        assert alone.app.problems()
        with pytest.raises((NotReady, DeadlineExceeded)) as refused:
            await alone.search("handbook", "water", timeout_s=20)
        assert isinstance(refused.value, NotReady)


async def test_a_config_change_builds_a_new_index_beside_the_old_one(part, replica):
    config = kit.CONFIG.replace("collections:\n", "collections:\n  manual: {tenant: red}\n")
    text = "# Manual\n\n" + " ".join(f"Sentence {n} about water and gates." for n in range(60))
    async with kit.serving(part, config) as other:
        await other.ingest("manual", document("a", text))
        before = (await other.search("manual", "water", top_k=100)).results
        smaller = config.replace("manual: {tenant: red}", "manual: {tenant: red, chunking: {max_tokens: 32}}")
        smaller = smaller.replace("max_tokens: 32", "max_tokens: 32, overlap_tokens: 4")
        other.runtime.configs.replace(Snapshot(parse(smaller), Path("headrace.yaml")))
        after = await eventually(
            lambda: other.search("manual", "water", top_k=100), lambda found: len(found.results) > len(before)
        )
        assert all(text[one.start : one.end] == one.text for one in after.results)
        assert max(len(one.text) for one in after.results) < max(len(one.text) for one in before)
        # Wanting ACLs closes what came without one; named no more, it lives on as an API collection.
        closed = smaller.replace("manual: {tenant: red,", "manual: {tenant: red, acl: required,")
        other.runtime.configs.replace(Snapshot(parse(closed), Path("headrace.yaml")))
        await eventually(lambda: other.ids("manual", "water"), lambda ids: ids == [])
        assert set(await other.ids("manual", "water", scopes=["read_all"])) == {"a"}
        other.runtime.configs.replace(Snapshot(parse(kit.CONFIG), Path("headrace.yaml")))
        await eventually(lambda: deleted(other, "manual"), lambda done: done)


async def test_what_is_deleted_or_long_read_is_cleaned_away(part, replica, name):
    await replica.ingest(name, document("a", "Water."))
    await replica.call("DeleteCollection", pb.DeleteCollectionRequest(name=name))
    postgres = Postgres(part.dsn, "retrieval")
    await postgres.open()
    try:
        async with Database(postgres).system() as connection:
            await connection.execute("UPDATE outbox SET at = at - interval '2 days'")
            newest = (await (await connection.execute("SELECT max(id) FROM outbox")).fetchone())[0]
        queue = PostgresQueue(Database(postgres))
        await queue.clean_up()
        async with Database(postgres).system() as connection:
            left = await connection.execute("SELECT count(*) FROM collections WHERE name = %s", [name])
            assert (await left.fetchone())[0] == 0
            for table in ("documents", "chunks", "vectors", "indexes"):
                orphans = await connection.execute(
                    f"SELECT count(*) FROM {table} t WHERE NOT EXISTS "
                    "(SELECT FROM collections c WHERE c.id = t.collection_id)"
                )
                assert (await orphans.fetchone())[0] == 0, table
            assert (await (await connection.execute("SELECT upto FROM outbox_trimmed")).fetchone())[0] >= newest
            assert (await (await connection.execute("SELECT count(*) FROM outbox")).fetchone())[0] == 0
    finally:
        await postgres.close()
    # Who had read what is gone follows on.
    fresh = await made(replica)
    await replica.ingest(fresh, document("a", "Water again."))
    assert await replica.ids(fresh, "water", mode=BM25) == ["a"]


async def deleted(replica, name: str) -> bool:
    try:
        await replica.call("DeleteCollection", pb.DeleteCollectionRequest(name=name))
    except HeadraceError:
        return False
    return True
