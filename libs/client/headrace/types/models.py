"""Models, vectors and rankings."""

from __future__ import annotations

from msgspec import Struct, field

from headrace.types.chat import Usage


class Model(Struct):
    """A model that the caller's team may name."""

    id: str
    created: int = 0
    task: str | None = None
    """`chat`, `embedding` or `rerank`."""


class Embedding(Struct):
    """The vector of the text at `index`."""

    embedding: list[float]
    index: int = 0


class Embeddings(Struct):
    """Vectors in the order of the texts."""

    data: list[Embedding]
    model: str = ""
    usage: Usage | None = None

    @property
    def vectors(self) -> list[list[float]]:
        """The bare vectors."""
        return [entry.embedding for entry in self.data]


class Ranked(Struct):
    """The document at `index` of the request, and how relevant it is: higher is better, no fixed scale."""

    index: int
    relevance_score: float


class Ranking(Struct):
    """Documents by relevance, best first."""

    results: list[Ranked]
    model: str = ""
    usage: Usage | None = field(default=None)
