"""Models for the tests of retrieval: no weights, the same answer every time."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import struct
from collections.abc import Sequence

from headrace_kit.errors import BadInput, Upstream

DIMENSIONS = 64
CONFIG = """
tenants: {red: {}, blue: {}, green: {}}
catalogue:
  words: {format: onnx, licence: none, files: [{name: model.onnx, sha256: "%s", size: 1, sources: [{path: none}]}]}
deployments:
  minilm: {engine: triton-python, task: embed, model: words, dimensions: 64}
collections:
  handbook: {tenant: red, shared_with: [blue], acl: required}
services:
  retrieval: {listen: {grpc_port: 0, ops_port: 0}}
""" % ("0" * 64)
REFUSED = "unembeddable"
"""A text with this word is refused, as a model refuses what it cannot read."""


class WordModels:
    """`Models`: a text's vector counts its words by hash, so texts that share words are near."""

    def __init__(self) -> None:
        self.away = False
        self.embedded: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, deployment: str, texts: Sequence[str], *, tenant: str, limit_s: float) -> list[bytes]:
        """Vectors, once `gate` is open."""
        if self.away:
            raise Upstream(f"{deployment} is away")
        await self.gate.wait()
        if any(REFUSED in text for text in texts):
            raise BadInput("the model cannot read this")
        self.embedded += texts
        return [_vector(text) for text in texts]

    async def rerank(self, deployment: str, query: str, texts: Sequence[str], *, limit_s: float) -> list[float]:
        """Shared words, less a little for length: an order that neither BM25 nor the vectors give."""
        if self.away:
            raise Upstream(f"{deployment} is away")
        wanted = set(_words(query))
        return [len(wanted & set(_words(text))) - len(text) / 10_000 for text in texts]


def _vector(text: str) -> bytes:
    values = [0.0] * DIMENSIONS
    for word in _words(text):
        values[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS] += 1
    length = math.sqrt(sum(value * value for value in values)) or 1
    return struct.pack(f"<{DIMENSIONS}f", *(value / length for value in values))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
