"""Makes accepted documents searchable: cut, embed, publish. Whatever dies in between is begun again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headrace_kit.ending import end
from headrace_kit.errors import (
    BadInput,
    Busy,
    DeadlineExceeded,
    Forbidden,
    HeadraceError,
    NotFound,
    NotReady,
    Unauthenticated,
    Upstream,
)
from headrace_retrieval.chunking.chunker import Piece, chunk, context
from headrace_retrieval.domain.residency import Permits, anywhere
from headrace_retrieval.indexing.looping import Bell
from headrace_retrieval.metrics import Metrics
from headrace_retrieval.ports import Cut, Models, Task, Work, WorkQueue

_log = logging.getLogger(__name__)

CLAIM = 256
"""Documents that one worker takes at a time."""

LOAD_BYTES = 4_000_000
"""Text that is held at a time, at most; a larger document is held alone."""

GROUP_PASSAGES, MOST_GROUP_PASSAGES = 128, 1024
"""Passages after which documents are published, so that a slow model's work shows, and is kept, as it goes.

As long as a group takes less than `QUICK_S` the next is twice as large, up to the second number.
"""

CUT_CHARS = 50_000
"""Characters that are cut into passages at a time, beside the calls that are being served."""

QUICK_S = 1.0

POLL_S = 1.0
EMBED_LIMIT_S = 120.0
EMBED_CALLS = 2
"""Calls to the model at a time: one is being served while the next one waits there."""

CLEAN_UP_S = 60.0
COUNT_S = 5.0
MAX_FAILURES = 5
"""Tries of a document that fails for a reason of its own, before it is given up."""

SUSPICIOUS = 3
"""After so many attempts a document is tried alone: it may be what makes the model go away."""

AWAY = (NotReady, Upstream, Busy, DeadlineExceeded, NotFound, Unauthenticated, Forbidden)
"""What says nothing about a document: a part is down, or it is not set up yet."""

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 8.0


@dataclass(frozen=True, slots=True)
class _Prepared:
    work: Work
    pieces: Sequence[Piece]


class Worker:
    """Runs until cancelled; several of them, in several processes, share the queue.

    While inference is away tasks go back to the queue and wait, longer each time; only a document that the model itself
    refuses, or that fails for no known reason `MAX_FAILURES` times, is given up, with the reason in its job.

    Args:
        embed_batch: reads how many passages go into one call.
        published: called when something became searchable.
        permits: whether a tenant's texts may be sent to a deployment; a document that may not is given up.
    """

    def __init__(
        self,
        queue: WorkQueue,
        models: Models,
        metrics: Metrics,
        *,
        embed_batch: Callable[[], int],
        published: Callable[[], None],
        permits: Permits = anywhere,
    ) -> None:
        self._queue = queue
        self._models = models
        self._metrics = metrics
        self._embed_batch = embed_batch
        self._published = published
        self._permits = permits
        self._bell = Bell()
        self._delay_s = _FIRST_DELAY_S
        self._group_passages = GROUP_PASSAGES
        self._cleaned = self._counted = float("-inf")

    def wake(self) -> None:
        """Look into the queue now instead of at the next poll."""
        self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            busy = False
            try:
                busy = await self.step()
                await self._keep_house()
            except NotReady:
                pass  # the database is away; it says so itself
            except HeadraceError as error:
                _log.warning("indexing stopped for a moment: %s", error.code)
            except Exception as error:
                _log.error("indexing failed", exc_info=error)
            if not busy:
                await self._bell.rest(POLL_S)

    async def step(self) -> bool:
        """Take some tasks and work them off; False when there was nothing to do."""
        tasks = await self._queue.claim(CLAIM)
        if not tasks:
            return False
        async with self._leased(tasks):
            left = list(tasks)
            try:
                async for group in self._groups(tasks):
                    began = time.monotonic()
                    try:
                        await self._index(group)
                        quick = time.monotonic() - began < QUICK_S
                        larger = min(2 * self._group_passages, MOST_GROUP_PASSAGES)
                        self._group_passages = larger if quick else GROUP_PASSAGES
                    except AWAY:
                        if group[0].work.task.attempt <= SUSPICIOUS:
                            raise
                        await self._postpone([group[0].work.task], self._delay_s)
                    for prepared in group:
                        left.remove(prepared.work.task)
            except AWAY:
                await self._postpone(left, self._delay_s)
                self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)
                raise
            except asyncio.CancelledError:
                await self._postpone(left, 0)
                raise
        self._delay_s = _FIRST_DELAY_S
        return True

    async def _postpone(self, tasks: Sequence[Task], delay_s: float) -> None:
        self._metrics.documents.labels("postponed").inc(len(tasks))
        await self._queue.put_back(tasks, delay_s)

    async def _groups(self, tasks: Sequence[Task]) -> AsyncIterator[list[_Prepared]]:
        """Tasks with their passages, in groups to be published together."""
        group: list[_Prepared] = []
        passages = 0
        rest = list(tasks)
        while rest:
            before = len(rest)
            works, rest = await self._queue.load(rest, LOAD_BYTES)
            self._metrics.documents.labels("overtaken").inc(before - len(works) - len(rest))
            async for prepared in _prepared(works):
                if group and (_suspicious(prepared.work) or _suspicious(group[-1].work)):
                    yield group
                    group, passages = [], 0
                group.append(prepared)
                passages += len(prepared.pieces)
                if passages >= self._group_passages:
                    yield group
                    group, passages = [], 0
        if group:
            yield group

    async def _index(self, group: Sequence[_Prepared]) -> None:
        try:
            cuts = await self._embed(group)
        except BadInput as error:
            if len(group) == 1:
                await self._give_up(group[0].work.task, error.message)
                return
            for prepared in group:  # one of them is at fault: find out which
                await self._index([prepared])
            return
        except AWAY:
            raise
        except Exception as error:
            if len(group) == 1:
                await self._failed(group[0].work.task, error)
                return
            for prepared in group:
                await self._index([prepared])
            return
        shown = await self._queue.publish(cuts)
        self._metrics.documents.labels("published").inc(shown)
        self._metrics.chunks.inc(sum(len(cut.pieces) for cut in cuts))
        self._published()

    async def _embed(self, group: Sequence[_Prepared]) -> list[Cut]:
        """Vectors for all passages of a group; calls are filled across documents that share model and tenant."""
        vectors: dict[tuple[int, int], bytes] = {}
        waiting: dict[tuple[str, str], list[tuple[tuple[int, int], str]]] = {}
        for number, prepared in enumerate(group):
            work = prepared.work
            if not self._permits(work.task.tenant, work.index.embedding):
                raise BadInput(
                    f"the collection is embedded by {work.index.embedding!r}, which is not where this tenant's "
                    "texts may be computed (residency, tags); give the collection another embedding"
                )
            texts = waiting.setdefault((work.index.embedding, work.task.tenant), [])
            for position, piece in enumerate(prepared.pieces):
                texts.append(((number, position), context(work.title, piece.headings, piece.text)))
        batch, places = self._embed_batch(), asyncio.Semaphore(EMBED_CALLS)

        async def embed(deployment: str, tenant: str, part: list[tuple[tuple[int, int], str]]) -> None:
            async with places:
                made = await self._models.embed(
                    deployment, [text for _, text in part], tenant=tenant, limit_s=EMBED_LIMIT_S
                )
            vectors.update(zip((key for key, _ in part), made, strict=True))

        await _all(
            embed(deployment, tenant, texts[at : at + batch])
            for (deployment, tenant), texts in waiting.items()
            for at in range(0, len(texts), batch)
        )
        return [
            Cut(
                prepared.work.task,
                prepared.pieces,
                [vectors[number, position] for position in range(len(prepared.pieces))],
            )
            for number, prepared in enumerate(group)
        ]

    async def _failed(self, task: Task, error: Exception) -> None:
        _log.error("a document could not be indexed", exc_info=error)
        if task.failures + 1 >= MAX_FAILURES:
            await self._give_up(task, "it could not be indexed because of an error on our side")
        else:
            await self._queue.put_back([task], min(2.0**task.failures, _LONGEST_DELAY_S), failed=True)

    async def _give_up(self, task: Task, reason: str) -> None:
        self._metrics.documents.labels("failed").inc()
        _log.warning("a document was given up", extra={"collection": str(task.collection_id), "item": task.item})
        await self._queue.fail(task, reason)

    @asynccontextmanager
    async def _leased(self, tasks: Sequence[Task]) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(self._queue.lease_s / 4)
                with contextlib.suppress(HeadraceError):
                    await self._queue.renew(tasks)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            await end(renewing)

    async def _keep_house(self) -> None:
        if await self._queue.promote():
            self._published()
        now = asyncio.get_running_loop().time()
        if now - self._counted >= COUNT_S:
            self._counted = now
            self._metrics.waiting.set(await self._queue.waiting())
        if now - self._cleaned >= CLEAN_UP_S:
            self._cleaned = now
            await self._queue.clean_up()


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first error ends the others and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _prepared(works: Sequence[Work]) -> AsyncIterator[_Prepared]:
    """Cut documents, in order: many small ones at a time in a thread, which costs more to reach than one of them."""
    part: list[Work] = []
    size = 0
    for work in works:
        part.append(work)
        size += len(work.text)
        if size >= CUT_CHARS:
            for prepared in await asyncio.to_thread(_cut, part):
                yield prepared
            part, size = [], 0
    for prepared in await asyncio.to_thread(_cut, part) if part else ():
        yield prepared


def _cut(works: Sequence[Work]) -> list[_Prepared]:
    return [
        _Prepared(
            work,
            chunk(
                work.text,
                markdown=work.markdown,
                max_tokens=work.index.max_tokens,
                overlap_tokens=work.index.overlap_tokens,
                page_starts=work.page_starts,
            ),
        )
        for work in works
    ]


def _suspicious(work: Work) -> bool:
    return work.task.attempt > SUSPICIOUS
