"""The platform's search as the evaluation of rankings asks it."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.http import AsyncHeadrace
from headrace.types.documents import Mode

_MODES: dict[str, Mode] = {"bm25": "bm25", "vector": "vector", "fused": "hybrid", "reranked": "hybrid"}


class CollectionSearcher:
    """`headrace_evals.ranking.stages.Searcher` on a collection. Raises HeadraceError as the client does."""

    def __init__(self, client: AsyncHeadrace, collection: str) -> None:
        self._client = client
        self._collection = collection

    async def search(self, stage: str, query: str, depth: int) -> Sequence[str]:
        """See the protocol."""
        found = await self._client.search(
            self._collection, query, top_k=depth, mode=_MODES[stage], rerank=stage == "reranked"
        )
        return [passage.document_id for passage in found]
