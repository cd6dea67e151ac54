"""What the cache needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_gateway.ports import Envelope


@dataclass(frozen=True, slots=True)
class Known:
    """A question that was answered: the key of its answer, and its vector (float32, little-endian, length 1)."""

    exact: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be kept: seconds for an answer, answers of a pool, questions of a scope."""

    ttl_s: float
    entries: int
    questions: int


class CacheStore(Protocol):
    """Where answers are kept. Every method raises NotReady while it is away, and answers within a short limit."""

    async def get(self, pool: str, exact: str) -> bytes | None:
        """The answer of a key; None where there is none any more."""
        ...

    async def questions(self, pool: str, scope: str) -> Sequence[Known]:
        """The questions of a scope."""
        ...

    async def put(self, pool: str, exact: str, entry: bytes, room: Room, scope: str, vector: bytes) -> None:
        """Keep an answer, and its question where `scope` is not empty; the oldest go where there is no room."""
        ...

    async def forget(self, pool: str, scope: str, exact: str) -> None:
        """Drop a question whose answer is gone."""
        ...


class Epochs(Protocol):
    """Tells when what may be read of a collection has changed."""

    async def epochs(self, collections: Sequence[str], sent: Envelope) -> dict[str, int]:
        """The epoch of each collection as it is now, for the envelope's identity.

        Raises:
            NotFound: no such collection, or not the caller's any more.
            HeadraceError: retrieval failed or cannot be reached.
        """
        ...
