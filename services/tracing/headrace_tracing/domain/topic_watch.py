"""Learns the topics of each day that is over: has a sample of its questions embedded, and counts them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from headrace_kit.errors import BadInput, HeadraceError, NotReady
from headrace_tracing.domain.drift import Window
from headrace_tracing.domain.profiles import Profile
from headrace_tracing.domain.sampled import Asked
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import Embedder, TopicStore

_log = logging.getLogger(__name__)
BATCH = 64
"""Questions of one call."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How topics are learned.

    Attributes:
        deployment: what embeds.
        version: its name, and what its vectors depend on: those of two versions are never compared.
        may_use: whether a tenant's questions may be sent to it.
        sample: questions of a day, by tenant and model.
        most: questions of a day in all.
        clusters: topics, by tenant and model.
    """

    deployment: str
    version: str
    may_use: Callable[[str], bool]
    sample: int = 300
    most: int = 20_000
    clusters: int = 12


class TopicWatch:
    """Asks the embedding model for one batch at a time, off every request's path; what it has got is kept, so a model
    that is away or busy is asked for the rest at the next look.

    Args:
        learning: what holds now; None: no topics.
    """

    def __init__(
        self, store: TopicStore, embedder: Embedder, metrics: Metrics, learning: Callable[[], Learning | None]
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._metrics = metrics
        self._learning = learning

    async def look(self, now: Window, before: Window) -> bool:
        """Learn the topics of the days before, and count the questions of both, unless that was done for the last day.

        Returns whether there are new counts. Raises NotReady: the store is away.
        """
        learning = self._learning()
        if learning is None or not await self._store.claim_topics(now.last, learning.version):
            return False
        try:
            await self._learn(learning, now, before)
        except NotReady:
            raise
        except HeadraceError as error:
            self._metrics.topics_failed.inc()
            _log.warning("topics could not be learned, trying again: %s", error)
            await self._store.free_topics(now.last)
            return False
        return True

    async def _learn(self, learning: Learning, now: Window, before: Window) -> None:
        for day in range(before.first, now.last + 1):
            asked = await self._store.unembedded(day, learning.version, learning.sample, learning.most)
            for tenant, of in groupby(asked, lambda one: one.tenant):
                if learning.may_use(tenant):
                    await self._embed(learning, day, tenant, list(of))
        for tenant, model in await self._store.embedded(before.first, now.last, learning.version):
            if learning.may_use(tenant):
                profiles = await self._profiles(learning, tenant, model, now, before)
                await self._store.save_topics(now.last, tenant, model, profiles)
        await self._store.end_topics(now.last)

    async def _embed(self, learning: Learning, day: int, tenant: str, asked: Sequence[Asked]) -> None:
        for at in range(0, len(asked), BATCH):
            batch = asked[at : at + BATCH]
            vectors = await self._vectors(learning.deployment, tenant, [one.text for one in batch])
            self._metrics.topics_embedded.inc(sum(vector is not None for vector in vectors))
            kept = [(one, vector) for one, vector in zip(batch, vectors, strict=True) if vector is not None]
            await self._store.keep_vectors(day, learning.version, kept)

    async def _vectors(self, deployment: str, tenant: str, texts: Sequence[str]) -> list[bytes | None]:
        try:
            return [*await self._embedder.embed(deployment, texts, tenant)]
        except BadInput:
            if len(texts) == 1:
                return [None]
            middle = len(texts) // 2
            return [
                *await self._vectors(deployment, tenant, texts[:middle]),
                *await self._vectors(deployment, tenant, texts[middle:]),
            ]

    async def _profiles(
        self, learning: Learning, tenant: str, model: str, now: Window, before: Window
    ) -> Sequence[Profile]:
        questions = await self._store.questions(tenant, model, before.first, now.last, learning.version)
        # Here, so that a service that learns no topics has no numpy in its memory.
        from headrace_tracing.domain.topics import topic_profiles

        return await asyncio.to_thread(topic_profiles, questions, tenant, model, now.last, now.first, learning.clusters)
