"""The worker and the follower over fakes of the queue, the model and the outbox."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream
from headrace_retrieval.domain.model import IndexSpec
from headrace_retrieval.indexing.follower import Follower
from headrace_retrieval.indexing.worker import MAX_FAILURES, SUSPICIOUS, Worker
from headrace_retrieval.metrics import Metrics
from headrace_retrieval.ports import Changes, IndexedPassage, Task, Work


def task(item: int, attempt: int = 1, failures: int = 0, tenant: str = "red") -> Task:
    return Task(item, tenant, UUID(int=1), f"d{item}", item, 1, attempt, failures)


class Queue:
    lease_s = 60.0

    def __init__(self, *tasks: Task, texts=None, overtaken=()) -> None:
        self.tasks = list(tasks)
        self.texts = texts or {}
        self.overtaken = overtaken
        self.published: list[list[int]] = []
        self.cuts: list = []
        self.failed: dict[int, str] = {}
        self.returned: dict[int, bool] = {}

    async def claim(self, limit):
        taken, self.tasks = self.tasks[:limit], self.tasks[limit:]
        return taken

    async def renew(self, tasks):
        raise AssertionError("no lease is that short here")

    async def load(self, tasks, max_bytes):
        there = [task for task in tasks if task.item not in self.overtaken]
        spec = IndexSpec("minilm", 16, 0)
        works = [
            Work(one, "Title", self.texts.get(one.item, f"Water {one.item}."), False, (), spec) for one in there[:2]
        ]
        return works, there[2:]

    async def publish(self, cuts):
        self.published.append([cut.task.item for cut in cuts])
        self.cuts += cuts
        return len(cuts)

    async def fail(self, task, message):
        self.failed[task.item] = message

    async def put_back(self, tasks, delay_s, *, failed=False):
        self.returned.update({task.item: failed for task in tasks})

    async def promote(self):
        return 0

    async def clean_up(self):
        pass

    async def waiting(self):
        return 0


class Model:
    """Raises what it was given for texts with a word; else embeds."""

    def __init__(self, **raises: Exception) -> None:
        self.raises = raises
        self.calls: list[tuple[str, int]] = []

    async def embed(self, deployment, texts, *, tenant, limit_s):
        self.calls.append((tenant, len(texts)))
        for word, error in self.raises.items():
            if any(word in text for text in texts):
                raise error
        return [text.encode() for text in texts]


def worker(queue: Queue, model: Model, batch: int = 4) -> Worker:
    return Worker(queue, model, Metrics(CollectorRegistry()), embed_batch=lambda: batch, published=lambda: None)


async def test_texts_that_may_not_be_sent_to_the_model_are_given_up_with_the_reason():
    queue, model = Queue(task(1), task(2, tenant="blue")), Model()
    bound = Worker(
        queue,
        model,
        Metrics(CollectorRegistry()),
        embed_batch=lambda: 4,
        published=lambda: None,
        permits=lambda tenant, deployment: (tenant, deployment) != ("blue", "minilm"),
    )
    assert await bound.step()
    assert queue.published == [[1]] and list(queue.failed) == [2]
    assert "residency" in queue.failed[2]
    assert {tenant for tenant, _ in model.calls} == {"red"}


async def test_passages_of_several_documents_fill_calls_and_keep_their_order():
    queue, model = Queue(task(1), task(2), task(3, tenant="blue"), texts={2: "Long sentence here. " * 20}), Model()
    assert await worker(queue, model).step()
    assert queue.published == [[1, 2, 3]], "one transaction"
    for cut in queue.cuts:
        assert len(cut.pieces) == len(cut.vectors)
        for piece, vector in zip(cut.pieces, cut.vectors, strict=True):
            assert vector == f"Title\n{piece.text}".encode()
    assert {tenant for tenant, _ in model.calls} == {"red", "blue"}
    assert all(size <= 4 for _, size in model.calls)
    assert len([size for tenant, size in model.calls if tenant == "red" and size < 4]) <= 1
    assert not await worker(queue, model).step()


async def test_a_refused_document_is_given_up_and_the_others_are_not():
    queue = Queue(*(task(n) for n in range(1, 5)), texts={3: "unreadable"})
    await worker(queue, Model(unreadable=BadInput("cannot be read"))).step()
    assert queue.failed == {3: "cannot be read"}
    assert sorted(item for group in queue.published for item in group) == [1, 2, 4]


async def test_overtaken_documents_are_passed_over():
    queue = Queue(task(1), task(2), overtaken=(1,))
    await worker(queue, Model()).step()
    assert queue.published == [[2]]


@pytest.mark.parametrize("error", [Upstream("gone"), NotReady("starting")])
async def test_while_the_model_is_away_everything_goes_back_and_nothing_is_given_up(error):
    queue = Queue(task(1), task(2))
    with pytest.raises(HeadraceError):
        await worker(queue, Model(Water=error)).step()
    assert queue.returned == {1: False, 2: False}
    assert (queue.failed, queue.published) == ({}, [])


async def test_a_document_that_may_be_what_kills_the_model_does_not_hold_up_the_others():
    queue = Queue(task(1, SUSPICIOUS + 1), task(2, SUSPICIOUS + 1), task(3), texts={1: "poison"})
    await worker(queue, Model(poison=Upstream("died"))).step()
    assert queue.returned == {1: False}
    assert sorted(item for group in queue.published for item in group) == [2, 3]


async def test_an_error_of_ours_is_tried_again_a_few_times_and_then_named_without_details():
    error = RuntimeError("secret detail")
    queue = Queue(task(1), task(2), task(3, failures=MAX_FAILURES - 1), texts={1: "odd", 3: "odd"})
    await worker(queue, Model(odd=error)).step()
    assert queue.returned == {1: True}
    assert list(queue.failed) == [3] and "secret" not in queue.failed[3]
    assert [2] in queue.published


async def test_a_worker_that_is_stopped_gives_its_tasks_back():
    queue, entered = Queue(task(1)), asyncio.Event()

    class Slow(Model):
        async def embed(self, deployment, texts, *, tenant, limit_s):
            entered.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(worker(queue, Slow()).run())
    await entered.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert queue.returned == {1: False}


class Record:
    """An outbox and what it is about: passages by index version and document."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int | None]] = []
        self.content: dict[int, dict[int, list[IndexedPassage]]] = {1: {}}
        self.trimmed = 0
        self.away = False

    def change(self, index_id: int, document: int, *texts: str) -> None:
        self.content[index_id][document] = [IndexedPassage(uuid4(), document, text, (), ()) for text in texts]
        self.rows.append((len(self.rows) + 1, index_id, document))

    async def head(self):
        if self.away:
            raise NotReady("away")
        return max([0, *(id for id, _, _ in self.rows)], default=0)

    async def indexes(self):
        return sorted(self.content)

    async def changes(self, after, limit):
        rows = [row for row in self.rows if row[0] > after][:limit]
        documents: dict[int, frozenset[int]] = {}
        for _, index, document in rows:
            if document is not None:
                documents[index] = documents.get(index, frozenset()) | {document}
        whole = frozenset(index for _, index, document in rows if document is None)
        return Changes(rows[-1][0] if rows else after, documents, whole, self.trimmed > after)

    async def passages(self, index_id, documents):
        return [one for document in documents for one in self.content[index_id].get(document, [])]

    async def all_passages(self, index_id):
        for passages in self.content[index_id].values():
            yield passages


class Copy:
    """`Lexical` as plain dictionaries."""

    def __init__(self) -> None:
        self.content: dict[int, dict[int, list[str]]] = {}

    async def replace(self, index_id, documents, passages):
        kept = self.content.setdefault(index_id, {})
        for document in documents:
            kept.pop(document, None)
        for passage in passages:
            kept.setdefault(passage.document_pk, []).append(passage.context)

    async def load(self, index_id, passages):
        self.content[index_id] = {}
        async for batch in passages:
            await self.replace(index_id, frozenset(), batch)

    async def drop(self, index_id):
        self.content.pop(index_id, None)

    def loaded(self):
        return frozenset(self.content)


@contextlib.asynccontextmanager
async def following(record: Record, copy: Copy):
    follower = Follower(record, copy)
    running = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_the_copy_starts_whole_and_follows_every_change():
    record, copy = Record(), Copy()
    record.change(1, 1, "one")
    record.rows.clear()
    async with following(record, copy) as follower:
        await follower.caught_up()
        while not follower.ready:
            await asyncio.sleep(0)
        assert copy.content == {1: {1: ["one"]}}
        record.change(1, 1, "one again")
        record.change(1, 2, "two", "more of two")
        record.change(1, 3)
        await follower.caught_up()
        assert copy.content == {1: {1: ["one again"], 2: ["two", "more of two"]}}
        record.content[2] = {}
        record.change(2, 1, "beside")
        del record.content[1]
        record.rows.append((len(record.rows) + 1, 1, None))
        await follower.caught_up()
        assert copy.content == {2: {1: ["beside"]}}


async def test_a_copy_that_missed_changes_is_made_anew_and_serves_on_meanwhile():
    record, copy = Record(), Copy()
    async with following(record, copy) as follower:
        record.change(1, 1, "one")
        await follower.caught_up()
        record.content[1] = {2: [IndexedPassage(uuid4(), 2, "two", (), ())]}
        record.trimmed = 50
        record.rows = [(51, 1, 2)]
        await follower.caught_up()
        assert follower.ready
        assert copy.content == {1: {2: ["two"]}}


async def test_while_the_record_is_away_it_is_not_ready_and_gets_there_later(monkeypatch):
    monkeypatch.setattr("headrace_retrieval.indexing.follower._RETRY_S", 0.01)
    record = Record()
    record.away = True
    async with following(record, Copy()) as follower:
        with pytest.raises(NotReady):
            await follower.caught_up()
        assert not follower.ready
        record.away = False
        await follower.caught_up()
        assert follower.ready
