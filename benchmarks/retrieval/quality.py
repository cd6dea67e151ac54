"""How well each stage ranks, through the running service with real models, beside bm25s on the same texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.retrieval import peers, serving
from headrace_evals.ranking.judged import Judged
from headrace_evals.ranking.measures import compare, documents_of, score
from headrace_evals.ranking.stages import DEPTH, PARENTS, Compared, Run, against_parents, measure
from headrace_local.platform import Platform

BM25S = "bm25s, whole documents"
BM25S_CHUNKS = "bm25s, our passages"


@dataclass(frozen=True, slots=True)
class Quality:
    """A data set's run, bm25s among its stages, and the paired comparisons."""

    run: Run
    compared: Sequence[Compared] = field(default=())


def of(sets: Sequence[Judged], threads: int) -> Iterator[Quality]:
    """Measure the data sets one after the other on one platform; each comes as soon as it is measured."""
    with serving.platform(["triton", "inference", "retrieval"], threads) as running:
        for judged in sets:
            yield asyncio.run(_one(running, judged))


async def _one(running: Platform, judged: Judged) -> Quality:
    service = serving.Retrieval(running, judged.name)
    try:
        await service.ready()
        await service.fill([(one.id, one.title, one.text) for one in judged.documents])
        run = await measure(judged, service, tuple(PARENTS), "headrace")
    finally:
        await service.close()
    compared = against_parents(run)
    if peers.there():
        run.scores |= _bm25s(judged)
        main = next(iter(run.scores["bm25"]))
        ours = run.scores["bm25"][main]
        beside = [Compared(name, "bm25", compare(run.scores[name][main], ours)) for name in (BM25S, BM25S_CHUNKS)]
        compared = [*beside, *compared]
    return Quality(run, compared)


def _bm25s(judged: Judged) -> dict[str, dict[str, tuple[float, ...]]]:
    """bm25s on whole documents with their titles, and on the passages that the service cuts."""
    from headrace_retrieval.chunking.chunker import chunk, context

    whole = [(one.id, context(one.title, (), one.text)) for one in judged.documents]
    cut = [
        (one.id, context(one.title, piece.headings, piece.text))
        for one in judged.documents
        for piece in chunk(one.text, markdown=False, max_tokens=200, overlap_tokens=20)
    ]
    found = {}
    for name, rows in ((BM25S, whole), (BM25S_CHUNKS, cut)):
        asked = {"documents": [text for _, text in rows], "queries": list(judged.queries.values()), "depth": DEPTH}
        places = peers.run("bm25s", asked)
        ranking = {
            query: documents_of([rows[place][0] for place in row])
            for query, row in zip(judged.queries, places, strict=True)
        }
        found[name] = score(judged, ranking)
    return found
