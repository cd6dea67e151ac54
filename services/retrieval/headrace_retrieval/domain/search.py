"""Hybrid search: BM25 and vectors side by side, fused, read again under the caller's rights, reranked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opentelemetry.trace import Tracer

from headrace_kit.errors import BadInput, HeadraceError, NotReady
from headrace_kit.telemetry import genai
from headrace_retrieval.chunking.chunker import context
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.fusion import fuse
from headrace_retrieval.domain.model import Collection, Found, Hit, Mode, Passage, Query
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.metrics import Metrics
from headrace_retrieval.ports import Lexical, Models, PassageStore, Replica

MAX_QUERY = 8192
MAX_TOP_K = 100
DEFAULT_TOP_K = 10
MAX_COLLECTIONS = 16


@dataclass(frozen=True, slots=True)
class Options:
    """How to search: deployment of the reranker, candidates per ranking and for the reranker, seconds for a model."""

    reranker: str
    candidates: int
    rerank_candidates: int
    model_limit_s: float


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Candidates of one way of searching, best first."""

    stage: str
    hits: Sequence[tuple[UUID, float]]


class Search:
    """Finds passages that the caller may read."""

    def __init__(
        self,
        collections: Collections,
        passages: PassageStore,
        lexical: Lexical,
        replica: Replica,
        models: Models,
        metrics: Metrics,
        tracer: Tracer,
        options: Callable[[], Options],
    ) -> None:
        self._collections = collections
        self._passages = passages
        self._lexical = lexical
        self._replica = replica
        self._models = models
        self._metrics = metrics
        self._tracer = tracer
        self._options = options

    async def __call__(self, caller: Caller, query: Query) -> Found:
        """Search.

        Raises:
            BadInput: the query is malformed.
            NotFound: a collection is not there for the caller.
            NotReady: the record is away, or this replica's index is still being built.
            HeadraceError: the embedding model is away and the mode is `vector`.
        """
        _check(query)
        options = self._options()
        # Read before anything is searched, so that the epochs are never newer than the results.
        collections = await self._collections.find(caller, query.collections, "collections")
        if len({collection.id for collection in collections}) < len(collections):
            raise BadInput("a collection is named twice", param="collections")
        if query.mode is not Mode.VECTOR and not self._replica.ready:
            raise NotReady("the lexical index is still being built; try again shortly", retry_after_s=1)
        degraded: set[str] = set()
        limit = max(options.candidates, query.top_k)
        lexical, vectors = await asyncio.gather(
            self._bm25(caller, query, collections, limit), self._embed(query, collections, options, degraded)
        )
        index_ids = [collection.index_id for collection in collections]
        async with self._passages.view(caller) as view:
            rankings = list(lexical)
            for embedding, vector in vectors.items():
                with self._stage("vector") as attributes:
                    ids = [one.index_id for one in collections if one.spec.index.embedding == embedding]
                    rankings.append(_Ranked("vector", await view.nearest(ids, vector, query.filter, limit)))
                    attributes["headrace.retrieval.hits"] = len(rankings[-1].hits)
            order, scores = _merge(rankings)
            wanted = max(query.top_k, options.rerank_candidates if query.rerank else 0)
            # A few more than wanted, for those that the record no longer has.
            candidates = order[: wanted + options.candidates]
            passages = await view.read(index_ids, candidates)
        self._metrics.stale.inc(len(candidates) - len(passages))
        found = [passages[chunk] for chunk in candidates if chunk in passages][:wanted]
        if query.rerank and found:
            found = await self._rerank(query, found, options, scores, degraded)
        for stage in degraded:
            self._metrics.degraded.labels(stage).inc()
        names = {collection.id: name for collection, name in zip(collections, query.collections, strict=True)}
        return Found(
            hits=tuple(
                Hit(passage, names[passage.collection_id], _last(scores[passage.chunk_id]), scores[passage.chunk_id])
                for passage in found[: query.top_k]
            ),
            epochs={names[collection.id]: collection.epoch for collection in collections},
            degraded=frozenset(degraded),
        )

    async def _bm25(self, caller: Caller, query: Query, collections: Sequence[Collection], limit: int) -> list[_Ranked]:
        if query.mode is Mode.VECTOR:
            return []
        with self._stage("bm25") as attributes:
            hits: list[tuple[UUID, float]] = []
            for collection in collections:
                whole = caller.whole_tenant and collection.spec.tenant == caller.tenant
                readers = None if whole else caller.readers
                hits += await self._lexical.search(collection.index_id, query.text, readers, query.filter, limit)
            hits = sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:limit]
            attributes["headrace.retrieval.hits"] = len(hits)
        return [_Ranked("bm25", hits)]

    async def _embed(
        self, query: Query, collections: Sequence[Collection], options: Options, degraded: set[str]
    ) -> Mapping[str, bytes]:
        """The query's vector by embedding model; none where the mode needs none, or where hybrid can do without."""
        if query.mode is Mode.BM25:
            return {}
        wanted = {one.spec.index.embedding: one.dimensions for one in collections if one.dimensions is not None}
        vectors = {}
        for deployment, dimensions in wanted.items():
            try:
                with self._stage("embed") as attributes:
                    attributes[genai.REQUEST_MODEL] = deployment
                    made = await self._models.embed(deployment, [query.text], tenant="", limit_s=options.model_limit_s)
                if len(made[0]) != 4 * dimensions:
                    raise NotReady(f"{deployment} was replaced by a model with other dimensions; index again")
                vectors[deployment] = made[0]
            except HeadraceError:
                if query.mode is Mode.VECTOR:
                    raise
                degraded.add("vector")
        return vectors

    async def _rerank(
        self,
        query: Query,
        found: list[Passage],
        options: Options,
        scores: dict[UUID, dict[str, float]],
        degraded: set[str],
    ) -> list[Passage]:
        texts = [context(passage.title, passage.headings, passage.text) for passage in found]
        try:
            with self._stage("rerank") as attributes:
                attributes[genai.REQUEST_MODEL] = options.reranker
                attributes["headrace.retrieval.candidates"] = len(texts)
                given = await self._models.rerank(options.reranker, query.text, texts, limit_s=options.model_limit_s)
        except HeadraceError:
            degraded.add("rerank")
            return found
        for passage, score in zip(found, given, strict=True):
            scores[passage.chunk_id]["rerank"] = score
        return sorted(found, key=lambda passage: -scores[passage.chunk_id]["rerank"])

    @contextmanager
    def _stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage and give it a span; what is put into the dict becomes attributes."""
        attributes: dict[str, Any] = {}
        started = time.perf_counter()
        with self._tracer.start_as_current_span(f"retrieval.{name}", record_exception=False) as span:
            try:
                yield attributes
            finally:
                span.set_attributes({genai.STAGE: name, **attributes})
                self._metrics.stage_s.labels(name).observe(time.perf_counter() - started)


def _check(query: Query) -> None:
    if not query.collections:
        raise BadInput("name at least one collection", param="collections")
    if len(query.collections) > MAX_COLLECTIONS:
        raise BadInput(f"name at most {MAX_COLLECTIONS} collections", param="collections")
    if not query.text.strip():
        raise BadInput("the query is empty", param="query")
    if len(query.text) > MAX_QUERY:
        raise BadInput(f"a query has at most {MAX_QUERY} characters", param="query")
    if not 1 <= query.top_k <= MAX_TOP_K:
        raise BadInput(f"top_k is 1 to {MAX_TOP_K}", param="top_k")


def _merge(rankings: Sequence[_Ranked]) -> tuple[list[UUID], dict[UUID, dict[str, float]]]:
    """Candidates, best first, and their scores by stage."""
    scores: dict[UUID, dict[str, float]] = {}
    for ranking in rankings:
        for chunk, score in ranking.hits:
            scores.setdefault(chunk, {})[ranking.stage] = score
    if len(rankings) == 1:
        return [chunk for chunk, _ in rankings[0].hits], scores
    fused = fuse([chunk for chunk, _ in ranking.hits] for ranking in rankings)
    for chunk, score in fused:
        scores[chunk]["fused"] = score
    return [chunk for chunk, _ in fused], scores


def _last(scores: Mapping[str, float]) -> float:
    """The score of the last stage that ran."""
    return next(scores[stage] for stage in ("rerank", "fused", "vector", "bm25") if stage in scores)
