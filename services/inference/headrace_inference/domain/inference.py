"""The service itself: check, queue, call the engine, observe."""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.trace import Tracer

from headrace_inference.domain.admission import Claim
from headrace_inference.domain.counts import Counts
from headrace_inference.domain.deployments import Deployment, Deployments
from headrace_inference.domain.estimate import generation_tokens, prompt_tokens, texts_tokens
from headrace_inference.domain.observe import Observed
from headrace_inference.domain.validate import MAX_DOCUMENTS, MAX_TEXTS, check_count, check_generation, check_inline
from headrace_inference.ports import Chunk, Embeddings, Engine, Generation, Json, Labels, Scores, Usage
from headrace_kit.config.deployments import LlamaCppDeployment
from headrace_kit.errors import BadInput, NotReady, Upstream

Inline = Callable[[tuple[Json, ...]], Awaitable[tuple[Json, ...]]]
"""Fetches the images that messages name by address, and returns the messages with them inside."""

_Found = TypeVar("_Found", Embeddings, Scores, Labels)

_FALLS = 3
"""How often a request may meet a server that is just being stopped."""

_OUTPUT_TOKENS = 1024
"""Of deployments whose config names no limit."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request it is, and until when an answer is of use: on the clock of `time.monotonic`, or None.

    `attempt` is the caller's name for what is asked.
    """

    tenant: str = ""
    deadline: float | None = None
    attempt: str = ""


NOBODY = Asker()


class _Away(Exception):
    """The engine itself, and not its queue, said that it is not there."""

    def __init__(self, error: NotReady) -> None:
        self.error = error


class Inference:
    """Generates, embeds, reranks and classifies on the deployments.

    Args:
        deployments: what there is.
        tracer: makes the span around each call to an engine.
        inline: fetches images; None: only data URLs are taken.
    """

    def __init__(self, deployments: Deployments, tracer: Tracer, inline: Inline | None = None) -> None:
        self.deployments = deployments
        self._tracer = tracer
        self.inline = inline
        self.counts = Counts()

    async def generate(self, name: str, generation: Generation, asker: Asker = NOBODY) -> AsyncGenerator[Chunk, None]:
        """Stream an answer; the contract is `Engine.generate`'s. Closing the iterator frees the slot.

        Raises:
            NotFound: no such deployment.
            BadInput: the request is wrong, or the deployment cannot do that.
            Busy: the queue is full, or the request could not start before its deadline.
            DeadlineExceeded: its deadline passed in the queue.
            NotReady: the deployment is unloaded or draining, or its engine is away.
            Upstream: the engine failed, or ended without saying how.
        """
        deployment = self._get(name, "generate")
        media = check_generation(generation, deployment.config, deployment.admission.slots)
        deployment.engine.check(generation)
        with Observed(deployment, "generate", self._tracer) as observed:
            if media and self.inline is None:
                check_inline(generation)
            elif media and self.inline is not None:
                generation = dataclasses.replace(generation, messages=await self.inline(generation.messages))
            prompt = prompt_tokens(generation)
            most = getattr(deployment.config, "max_output_tokens", _OUTPUT_TOKENS)
            cost = generation_tokens(prompt, generation, most)
            claim = Claim(asker.tenant, cost, generation.sampling.n, generation.priority, asker.deadline)
            for falls in range(_FALLS):
                begun = False
                try:
                    async with aclosing(self._answer(deployment, generation, asker, claim, observed, prompt)) as chunks:
                        async for chunk in chunks:
                            begun = True
                            yield chunk
                    return
                except _Away as away:
                    # Its server was stopped in the moment in which it was asked: wait for it as the next one would.
                    if begun or falls == _FALLS - 1 or not deployment.doze():
                        raise away.error from None

    async def _answer(
        self,
        deployment: Deployment,
        generation: Generation,
        asker: Asker,
        claim: Claim,
        observed: Observed,
        prompt: int,
    ) -> AsyncGenerator[Chunk, None]:
        async with deployment.admission.slot(claim) as slot:
            speculation = deployment.speculation
            silent = isinstance(deployment.config, LlamaCppDeployment)
            if speculation is not None and silent and generation.measured:
                # Its instance that drafts reports no log probabilities: there is nothing to decide, or to learn.
                speculation, generation = None, dataclasses.replace(generation, max_draft_tokens=0)
            elif speculation is not None and generation.max_draft_tokens is None:
                length = speculation.decide(asker.tenant, prompt, deployment.admission.used)
                generation = dataclasses.replace(generation, max_draft_tokens=length)
            observed.started_engine(generation)
            complete = False
            count = self.counts.begin(asker.attempt)
            try:
                # Looked up after the wait: a newer version may have taken over.
                with deployment.serving as serving:
                    async with aclosing(serving.engine.generate(generation)) as chunks:
                        async for chunk in chunks:
                            if chunk.prompt is None and not count.usage.input_tokens:
                                chunk = dataclasses.replace(chunk, prompt=Usage(input_tokens=prompt))
                            count.add(chunk)
                            observed.chunk(chunk)
                            complete = chunk.usage is not None
                            yield chunk
            except NotReady as error:
                raise _Away(error) from error
            finally:
                count.running = False
            usage = observed.usage
            if not complete or usage is None:
                raise Upstream(f"deployment {deployment.name!r} ended its answer without usage", code="engine_failed")
            slot.tokens = _used(usage)
            if speculation is not None and speculation is deployment.speculation:
                speculation.learn(
                    asker.tenant,
                    prompt,
                    generation.max_draft_tokens or 0,
                    usage.draft_tokens,
                    usage.accepted_draft_tokens,
                    usage.output_tokens,
                )

    async def embed(
        self, name: str, texts: Sequence[str], *, truncate: bool, dimensions: int = 0, asker: Asker = NOBODY
    ) -> Embeddings:
        """Vectors of `texts`; `dimensions` above 0 keeps that many leading ones and normalises again.

        Raises: as `generate`.
        """
        deployment = self._get(name, "embed")
        check_count("texts", len(texts), MAX_TEXTS)
        found = await self._rows(
            deployment, "embed", texts, "", asker, lambda engine: engine.embed(texts, truncate=truncate)
        )
        if not dimensions:
            return found
        return Embeddings([shortened(vector, dimensions) for vector in found.vectors], found.usage)

    async def rerank(self, name: str, query: str, documents: Sequence[str], asker: Asker = NOBODY) -> Scores:
        """Scores of `documents` against `query`. Raises: as `generate`."""
        deployment = self._get(name, "rerank")
        check_count("documents", len(documents), MAX_DOCUMENTS)
        return await self._rows(
            deployment, "rerank", documents, query, asker, lambda engine: engine.rerank(query, documents)
        )

    async def classify(self, name: str, texts: Sequence[str], asker: Asker = NOBODY) -> Labels:
        """Probabilities of the deployment's labels for `texts`. Raises: as `generate`."""
        deployment = self._get(name, "classify")
        check_count("texts", len(texts), MAX_TEXTS)
        return await self._rows(deployment, "classify", texts, "", asker, lambda engine: engine.classify(texts))

    def _get(self, name: str, task: str) -> Deployment:
        deployment = self.deployments.get(name, task)
        if deployment.phase == "unloaded":
            raise NotReady(f"deployment {name!r} is unloaded; `headrace models load {name}` loads it")
        return deployment

    async def _rows(
        self,
        deployment: Deployment,
        task: str,
        texts: Sequence[str],
        more: str,
        asker: Asker,
        call: Callable[[Engine], Awaitable[_Found]],
    ) -> _Found:
        """One request over rows of text, each of which takes a place in the engine."""
        with Observed(deployment, task, self._tracer) as observed:
            claim = Claim(asker.tenant, texts_tokens(texts, more), len(texts), 0, asker.deadline)
            for falls in range(_FALLS):
                try:
                    async with deployment.admission.slot(claim) as slot:
                        observed.started_engine()
                        with deployment.serving as serving:
                            try:
                                found = await call(serving.engine)
                            except NotReady as error:
                                raise _Away(error) from error
                        slot.tokens = _used(found.usage)
                    observed.used(found.usage)
                    return found
                except _Away as away:
                    if falls == _FALLS - 1 or not deployment.doze():
                        raise away.error from None
        raise AssertionError("the last try returns or raises")


def shortened(vector: bytes, dimensions: int) -> bytes:
    """The first `dimensions` numbers of a float32 vector, L2-normalised. Raises BadInput when it has fewer."""
    numbers = array("f", vector)
    if dimensions > len(numbers):
        raise BadInput(f"the model has {len(numbers)} dimensions", param="dimensions")
    kept = numbers[:dimensions]
    norm = math.sqrt(math.fsum(value * value for value in kept)) or 1.0
    return array("f", (value / norm for value in kept)).tobytes()


def _used(usage: Usage) -> int:
    """Tokens that the engine worked on: those from a prefix cache cost it nothing."""
    return usage.input_tokens - usage.cached_input_tokens + usage.output_tokens
