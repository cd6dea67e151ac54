"""The service itself: admit, call the engine, observe."""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from opentelemetry.trace import Tracer

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.observe import Observed
from headrace_inference.domain.validate import MAX_DOCUMENTS, MAX_TEXTS, check_count, check_generation
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Chunk, Embeddings, Generation, Scores
from headrace_kit.errors import BadInput, Upstream


class Inference:
    """Generates, embeds and reranks on the deployments.

    Args:
        deployments: what there is.
        tracer: makes the span around each call to an engine.
        metrics: counts.
    """

    def __init__(self, deployments: Deployments, tracer: Tracer, metrics: Metrics) -> None:
        self.deployments = deployments
        self._tracer = tracer
        self._metrics = metrics

    async def generate(self, name: str, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """Stream an answer; the contract is `Engine.generate`'s. Closing the iterator frees the slot.

        Raises:
            NotFound: no such deployment.
            BadInput: the request is wrong, or the deployment does not generate.
            Busy: the queue is full.
            Upstream: the engine failed, or ended without saying how.
        """
        deployment = self.deployments.get(name, "generate")
        check_generation(generation, deployment.admission.slots)
        with Observed(deployment, "generate", self._tracer, self._metrics) as observed:
            async with deployment.admission.slot(generation.priority):
                observed.started_engine(generation)
                complete = False
                async with aclosing(deployment.engine.generate(generation)) as chunks:
                    async for chunk in chunks:
                        observed.chunk(chunk)
                        complete = chunk.usage is not None
                        yield chunk
                if not complete:
                    raise Upstream(f"deployment {name!r} ended its answer without usage", code="engine_failed")

    async def embed(self, name: str, texts: Sequence[str], *, truncate: bool, dimensions: int = 0) -> Embeddings:
        """Vectors of `texts`; `dimensions` above 0 keeps that many leading ones and normalises again.

        Raises: as `generate`.
        """
        deployment = self.deployments.get(name, "embed")
        check_count("texts", len(texts), MAX_TEXTS)
        with Observed(deployment, "embed", self._tracer, self._metrics) as observed:
            async with deployment.admission.slot():
                observed.started_engine()
                found = await deployment.engine.embed(texts, truncate=truncate)
            observed.used(found.usage)
        if not dimensions:
            return found
        return Embeddings([shortened(vector, dimensions) for vector in found.vectors], found.usage)

    async def rerank(self, name: str, query: str, documents: Sequence[str]) -> Scores:
        """Scores of `documents` against `query`. Raises: as `generate`."""
        deployment = self.deployments.get(name, "rerank")
        check_count("documents", len(documents), MAX_DOCUMENTS)
        with Observed(deployment, "rerank", self._tracer, self._metrics) as observed:
            async with deployment.admission.slot():
                observed.started_engine()
                found = await deployment.engine.rerank(query, documents)
            observed.used(found.usage)
        return found


def shortened(vector: bytes, dimensions: int) -> bytes:
    """The first `dimensions` numbers of a float32 vector, L2-normalised. Raises BadInput when it has fewer."""
    numbers = array("f", vector)
    if dimensions > len(numbers):
        raise BadInput(f"the model has {len(numbers)} dimensions", param="dimensions")
    kept = numbers[:dimensions]
    norm = math.sqrt(math.fsum(value * value for value in kept)) or 1.0
    return array("f", (value / norm for value in kept)).tobytes()
