"""Citations: made by us from the passages that stood in the prompt, not read out of the model's words."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_gateway.outcome import Citation, Span
from headrace_protos.retrieval.v1.messages_pb2 import Passage


def cite(passages: Sequence[Passage]) -> list[Citation]:
    """One citation a passage, numbered as in the prompt."""
    return [
        Citation(
            number=number,
            collection=passage.collection,
            document_id=passage.document_id,
            chunk_id=passage.chunk_id,
            span=Span(passage.start, passage.end),
            quote=passage.text,
            score=passage.score,
            title=passage.title or None,
            page=passage.page or None,
        )
        for number, passage in enumerate(passages, 1)
    ]
