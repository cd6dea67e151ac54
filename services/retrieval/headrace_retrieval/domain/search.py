"""Hybrid search: BM25 and vectors side by side, fused, read again under the caller's rights, reranked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from opentelemetry.trace import Tracer

from headrace_kit.errors import BadInput, HeadraceError, NotReady
from headrace_kit.telemetry import genai
from headrace_retrieval.chunking.chunker import context
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.fusion import Ranking, fuse, probabilities
from headrace_retrieval.domain.model import MEMORY, Collection, Found, Hit, Mode, Passage, Query
from headrace_retrieval.domain.ordering import Candidate, varied
from headrace_retrieval.domain.residency import Permits, anywhere, refuse
from headrace_retrieval.domain.rewriting import Rewritten, rewritten
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.widening import MOST_PIECES, Wider, widened
from headrace_retrieval.metrics import Metrics
from headrace_retrieval.ports import Lexical, Models, PassageStore, PassageView, Replica

MAX_QUERY = 8192
MAX_TOP_K = 100
DEFAULT_TOP_K = 10
MAX_COLLECTIONS = 16
SPARE = 5
"""Passages that are read beyond those wanted, in the place of any that the record no longer has."""

ONE_BY_ONE = 4000
"""Vectors that are looked at one by one in no more time than a graph takes."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to search.

    Deployments of the reranker and (empty: none) of the rewriter, candidates per ranking and for the reranker, seconds
    for a model, and for all rewriting.
    """

    reranker: str
    candidates: int
    rerank_candidates: int
    model_limit_s: float
    rewriter: str = ""
    rewrite_limit_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Candidates of one way of searching, best first."""

    stage: str
    hits: Sequence[tuple[UUID, float]]
    zero: float = 0.0


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
        permits: Permits = anywhere,
    ) -> None:
        self._collections = collections
        self._passages = passages
        self._lexical = lexical
        self._replica = replica
        self._models = models
        self._metrics = metrics
        self._tracer = tracer
        self._options = options
        self._permits = permits

    async def __call__(self, caller: Caller, query: Query) -> Found:
        """Search.

        Raises:
            BadInput: the query is malformed.
            NotFound: a collection is not there for the caller.
            NotReady: the record is away, or this replica's index is still being built.
            HeadraceError: the embedding model is away, or not for the caller's tenant, and the mode is `vector`.
        """
        _check(query)
        options = self._options()
        # Read before anything is searched, so that the epochs are never newer than the results.
        collections = await self._collections.find(caller, query.collections, "collections")
        if len({collection.id for collection in collections}) < len(collections):
            raise BadInput("a collection is named twice", param="collections")
        if not caller.user and any(collection.spec.kind == MEMORY for collection in collections):
            raise BadInput("a memory is searched for one person: say for whom you ask", param="headrace.user")
        if query.mode is not Mode.VECTOR and not self._replica.ready:
            raise NotReady("the lexical index is still being built; try again shortly", retry_after_s=1)
        degraded: set[str] = set()
        limit = max(options.candidates, query.top_k)
        asked = await self._rewrite(caller, query, options, degraded)
        lexical, vectors = await asyncio.gather(
            self._bm25(caller, query, asked, collections, limit),
            self._embed(caller, query, asked, collections, options, degraded),
        )
        index_ids = [collection.index_id for collection in collections]
        async with self._passages.view(caller) as view:
            rankings = list(lexical)
            for embedding, text, vector in vectors:
                with self._stage("vector") as attributes:
                    alike = [one for one in collections if one.spec.index.embedding == embedding]
                    few = [one.index_id for one in alike if self._few(caller, one, query)]
                    ids = [one.index_id for one in alike]
                    hits = await view.nearest(ids, vector, query.filter, limit, few)
                    # Apart: `vector` is how near a passage is to what was asked, not to what a model made up.
                    stage = "hypothetical" if text == asked.hypothetical else "vector"
                    rankings.append(_Ranked(stage, hits, _nothing(alike, vector)))
                    attributes["headrace.retrieval.hits"] = len(rankings[-1].hits)
            order, scores = _merge(rankings, _ways(query, asked))
            reordered = query.rerank or query.diversity or query.freshness is not None
            wanted = max(query.top_k, options.rerank_candidates if reordered else 0)
            found = await self._read(view, index_ids, order, wanted)
        if query.rerank and found:
            tenants = {caller.tenant, *(collection.spec.tenant for collection in collections)}
            found = await self._rerank(tenants, asked.main, found, options, scores, degraded)
        found = _reordered(query, found, scores)
        for stage in degraded:
            self._metrics.degraded.labels(stage).inc()
        names = {collection.id: name for collection, name in zip(collections, query.collections, strict=True)}
        answers = tuple(
            Hit(passage, names[passage.collection_id], _last(scores[passage.chunk_id]), scores[passage.chunk_id])
            for passage in found[: query.top_k]
        )
        wider = Wider(query.window, query.section)
        if answers and wider.pieces:
            async with self._passages.view(caller) as view:
                answers = widened(answers, await view.widen(index_ids, [hit.passage for hit in answers], wider))
        return Found(
            hits=answers,
            epochs={names[collection.id]: collection.epoch for collection in collections},
            degraded=frozenset(degraded),
            queries=asked.all if query.rewrite.wanted else (),
            rewriting=asked.tokens,
        )

    async def _rewrite(self, caller: Caller, query: Query, options: Options, degraded: set[str]) -> Rewritten:
        """What to search for: the query, and what the model makes of it."""
        if not query.rewrite.wanted:
            return Rewritten(query.text, (query.text,))
        if not options.rewriter:
            raise BadInput("no model rewrites queries here: set services.retrieval.rewriter", param="rewrite")
        with self._stage("rewrite") as attributes:
            attributes[genai.REQUEST_MODEL] = options.rewriter
            try:
                refuse(self._permits, [caller.tenant], options.rewriter)
            except HeadraceError:
                degraded.add("rewrite")
                return Rewritten(query.text, (query.text,))
            made = await rewritten(
                self._models, options.rewriter, query.text, query.rewrite, limit_s=options.rewrite_limit_s
            )
            attributes["headrace.retrieval.queries"] = len(made.texts) + bool(made.hypothetical)
        if made.failed:
            degraded.add("rewrite")
        return made

    async def _read(
        self, view: PassageView, index_ids: Sequence[int], order: Sequence[UUID], wanted: int
    ) -> list[Passage]:
        """The first passages of `order` that the record still has and the caller may read."""
        found: list[Passage] = []
        at = 0
        while len(found) < wanted and at < len(order):
            part = order[at : at + wanted - len(found) + SPARE]
            passages = await view.read(index_ids, part)
            self._metrics.stale.inc(len(part) - len(passages))
            found += [passages[chunk] for chunk in part if chunk in passages]
            at += len(part)
        return found[:wanted]

    async def _bm25(
        self, caller: Caller, query: Query, asked: Rewritten, collections: Sequence[Collection], limit: int
    ) -> list[_Ranked]:
        if query.mode is Mode.VECTOR:
            return []
        with self._stage("bm25") as attributes:
            rankings = []
            for text in asked.texts:
                hits: list[tuple[UUID, float]] = []
                for collection in collections:
                    readers = _readers(caller, collection)
                    hits += await self._lexical.search(collection.index_id, text, readers, query.filter, limit)
                rankings.append(_Ranked("bm25", sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:limit]))
            attributes["headrace.retrieval.hits"] = sum(len(ranking.hits) for ranking in rankings)
        return rankings

    def _few(self, caller: Caller, collection: Collection, query: Query) -> bool:
        """Whether so few passages can match that looking at each is quicker than a graph, and exact."""
        if not self._replica.ready:
            return False
        readers = _readers(caller, collection)
        return self._lexical.at_most(collection.index_id, readers, query.filter) <= ONE_BY_ONE

    async def _embed(
        self,
        caller: Caller,
        query: Query,
        asked: Rewritten,
        collections: Sequence[Collection],
        options: Options,
        degraded: set[str],
    ) -> list[tuple[str, str, bytes]]:
        """Embedding model, text and vector; none where the mode needs none, or where hybrid can do without."""
        if query.mode is Mode.BM25:
            return []
        texts = asked.all
        wanted = {one.spec.index.embedding: one.dimensions for one in collections if one.dimensions is not None}
        vectors: list[tuple[str, str, bytes]] = []
        for deployment, dimensions in wanted.items():
            try:
                refuse(self._permits, [caller.tenant], deployment)
                with self._stage("embed") as attributes:
                    attributes[genai.REQUEST_MODEL] = deployment
                    made = await self._models.embed(deployment, texts, tenant="", limit_s=options.model_limit_s)
                if len(made[0]) != 4 * dimensions:
                    raise NotReady(f"{deployment} was replaced by a model with other dimensions; index again")
                vectors += [(deployment, text, vector) for text, vector in zip(texts, made, strict=True)]
            except HeadraceError:
                if query.mode is Mode.VECTOR:
                    raise
                degraded.add("vector")
        return vectors

    async def _rerank(
        self,
        tenants: Set[str],
        question: str,
        found: list[Passage],
        options: Options,
        scores: dict[UUID, dict[str, float]],
        degraded: set[str],
    ) -> list[Passage]:
        texts = [context(passage.title, passage.headings, passage.text) for passage in found]
        try:
            refuse(self._permits, tenants, options.reranker)
            with self._stage("rerank") as attributes:
                attributes[genai.REQUEST_MODEL] = options.reranker
                attributes["headrace.retrieval.candidates"] = len(texts)
                given = await self._models.rerank(options.reranker, question, texts, limit_s=options.model_limit_s)
        except HeadraceError:
            degraded.add("rerank")
            return found
        before = [_share(scores[passage.chunk_id], scores[found[0].chunk_id]) for passage in found]
        for passage, score, share, probability in zip(found, given, before, probabilities(given), strict=True):
            scores[passage.chunk_id] |= {"cross_encoder": score, "rerank": (share + probability) / 2}
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


def _reordered(query: Query, found: list[Passage], scores: dict[UUID, dict[str, float]]) -> list[Passage]:
    """Passages with those that are old, and those that say what a better one says, put back."""
    if not found or not (query.diversity or query.freshness):
        return found
    best = scores[found[0].chunk_id]
    shares = {passage.chunk_id: _share(scores[passage.chunk_id], best) for passage in found}
    if query.freshness is not None:
        now = datetime.now(UTC)
        for passage in found:
            shares[passage.chunk_id] *= query.freshness.factor(passage.metadata, now)
            scores[passage.chunk_id]["fresh"] = shares[passage.chunk_id]
        found = sorted(found, key=lambda passage: -shares[passage.chunk_id])
    if query.diversity:
        candidates = [Candidate(passage, shares[passage.chunk_id], passage.text) for passage in found]
        taken = varied(candidates, query.diversity, query.top_k)
        for passage, value in taken:
            scores[passage.chunk_id]["varied"] = value
        found = [passage for passage, _ in taken]
    return found


def _readers(caller: Caller, collection: Collection) -> frozenset[str] | None:
    """Tokens of which a passage must have one; None: all passages of the collection."""
    return None if caller.whole_tenant and collection.spec.tenant == caller.tenant else caller.readers


def _nothing(collections: Sequence[Collection], vector: bytes) -> float:
    """The similarity that a passage has to the query on average: it says nothing of one that has no more."""
    query = np.frombuffer(vector, "<f4")
    means = [np.frombuffer(one.mean, "<f4") for one in collections if one.mean and len(one.mean) == len(vector)]
    return float(np.mean([mean @ query for mean in means])) if means else 0.0


def _ways(query: Query, asked: Rewritten) -> int:
    """By how many ways a passage can be found."""
    kinds = 2 if query.mode is Mode.HYBRID else 1
    return max(2, kinds * len(asked.texts) + bool(asked.hypothetical))


def _check(query: Query) -> None:
    query.rewrite.check()
    if not query.collections:
        raise BadInput("name at least one collection", param="collections")
    if len(query.collections) > MAX_COLLECTIONS:
        raise BadInput(f"name at most {MAX_COLLECTIONS} collections", param="collections")
    if not query.text.strip():
        raise BadInput("the query is empty", param="query")
    if len(query.text) > MAX_QUERY:
        raise BadInput(f"a query has at most {MAX_QUERY} characters", param="query")
    if not 0 <= query.window <= MOST_PIECES:
        raise BadInput(f"window is 0 to {MOST_PIECES}", param="window")
    if not 0 <= query.diversity <= 1:
        raise BadInput("diversity is 0 to 1", param="diversity")
    if query.freshness is not None and (not query.freshness.field or not query.freshness.half_life_s > 0):
        raise BadInput("freshness needs a field of the metadata and a half-life above 0", param="freshness")
    if not 1 <= query.top_k <= MAX_TOP_K:
        raise BadInput(f"top_k is 1 to {MAX_TOP_K}", param="top_k")


def _merge(rankings: Sequence[_Ranked], ways: int) -> tuple[list[UUID], dict[UUID, dict[str, float]]]:
    """Candidates, best first, and their scores by stage."""
    scores: dict[UUID, dict[str, float]] = {}
    for ranking in rankings:
        for chunk, score in ranking.hits:
            scores.setdefault(chunk, {}).setdefault(ranking.stage, score)
    if len(rankings) == 1:
        return [chunk for chunk, _ in rankings[0].hits], scores
    fused = fuse([Ranking(ranking.hits, ranking.zero) for ranking in rankings], ways)
    for chunk, score in fused:
        scores[chunk]["fused"] = score
    return [chunk for chunk, _ in fused], scores


def _share(scores: Mapping[str, float], best: Mapping[str, float]) -> float:
    """The score before reranking as a share of the best one, 0 to 1."""
    return max(0.0, _last(scores) / _last(best)) if _last(best) > 0 else 0.0


def _last(scores: Mapping[str, float]) -> float:
    """The score of the last stage that ran."""
    stages = ("varied", "fresh", "rerank", "fused", "vector", "hypothetical", "bm25")
    return next(scores[stage] for stage in stages if stage in scores)
