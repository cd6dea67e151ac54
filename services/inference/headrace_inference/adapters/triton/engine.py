"""The engine port over Triton."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec
from grpc import aio
from tritonclient.grpc import service_pb2 as pb

from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.metrics import TritonMetrics
from headrace_inference.adapters.triton.wire import (
    ALIVE,
    STATS_REQUEST,
    decode_chunk,
    decode_stats,
    encode_generation,
    output,
    pack_bytes,
    rows_request,
)
from headrace_inference.ports import (
    Chunk,
    Embeddings,
    Engine,
    EngineState,
    EngineStats,
    Generation,
    Labels,
    Scores,
    Usage,
)
from headrace_kit.errors import BadInput, HeadraceError, Upstream

ROWS = 64
"""Rows of one request: the most that a rendered model takes."""

_STATS_S = 2.0


class _TooLong(msgspec.Struct):
    row: int
    tokens: int
    limit: int


class TritonEngine(Engine):
    """A deployment that is a Triton model of the same name.

    Args:
        model: Triton's name of it.
        client: shared by all deployments on that Triton.
        labels: of a classifier, in the order of its outputs.
        streams: whether it is one of our streaming models, which tell of themselves.
        metrics: Triton's own, for models that do not.
        tasks: what the model does, `generate`, `embed`, `rerank` or `classify`.
        refuse: raises BadInput for a generation that the model cannot do; None: it takes everything.
    """

    takes_over = True

    def __init__(
        self,
        model: str,
        client: TritonClient,
        labels: Sequence[str] = (),
        *,
        streams: bool = True,
        metrics: TritonMetrics | None = None,
        tasks: Sequence[str] = ("generate", "embed", "rerank", "classify"),
        refuse: Callable[[Generation], None] | None = None,
    ) -> None:
        self._model = model
        self._client = client
        self._labels = tuple(labels)
        self._streams = streams
        self._metrics = metrics
        self._tasks = tasks
        self._refuse = refuse

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        self._does("generate")
        if self._refuse is not None:
            self._refuse(generation)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        self.check(generation)
        async with aclosing(self._client.stream(self._model, encode_generation(generation))) as documents:
            async for document in documents:
                if document != ALIVE:
                    yield decode_chunk(document)

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """See `Engine`."""
        self._does("embed")
        requests = []
        for start in range(0, len(texts), ROWS):
            part = texts[start : start + ROWS]
            columns = [
                ("text", "BYTES", pack_bytes([text.encode() for text in part])),
                ("truncate", "BOOL", bytes([truncate]) * len(part)),
            ]
            requests.append(rows_request(self._model, columns, len(part)))
        responses = await self._all(requests)
        vectors: list[bytes] = []
        for request, response in zip(requests, responses, strict=True):
            rows = request.inputs[0].shape[0]
            contents = output(response, "embedding")
            width = len(contents) // rows
            vectors += [contents[row * width : (row + 1) * width] for row in range(rows)]
        return Embeddings(vectors, _usage(responses))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """See `Engine`."""
        self._does("rerank")
        encoded = query.encode()
        requests = []
        for start in range(0, len(documents), ROWS):
            part = documents[start : start + ROWS]
            columns = [
                ("query", "BYTES", pack_bytes([encoded] * len(part))),
                ("document", "BYTES", pack_bytes([document.encode() for document in part])),
            ]
            requests.append(rows_request(self._model, columns, len(part)))
        responses = await self._all(requests)
        scores = [score for response in responses for score in array("f", output(response, "score"))]
        return Scores(scores, _usage(responses))

    async def classify(self, texts: Sequence[str]) -> Labels:
        """See `Engine`."""
        self._does("classify")
        requests = []
        for start in range(0, len(texts), ROWS):
            part = texts[start : start + ROWS]
            columns = [("text", "BYTES", pack_bytes([text.encode() for text in part]))]
            requests.append(rows_request(self._model, columns, len(part)))
        responses = await self._all(requests)
        scores = array("f", b"".join(output(response, "scores") for response in responses))
        width = len(self._labels)
        if len(scores) != width * len(texts):
            raise Upstream(
                f"{self._model!r} answered {len(scores)} scores for {len(texts)} texts and {width} labels",
                code="engine_failed",
            )
        rows = (scores[row * width : (row + 1) * width] for row in range(len(texts)))
        return Labels([dict(zip(self._labels, row, strict=True)) for row in rows], _usage(responses))

    async def stats(self) -> EngineStats:
        """See `Engine`."""
        if not self._streams:
            return EngineStats() if self._metrics is None else await self._metrics.of(self._model)
        try:
            async with asyncio.timeout(_STATS_S), aclosing(self._client.stream(self._model, STATS_REQUEST)) as answers:
                async for answer in answers:
                    return decode_stats(answer)
        except (HeadraceError, TimeoutError):
            pass
        return EngineStats()

    async def health(self) -> EngineState:
        """See `Engine`."""
        return await self._client.state(self._model)

    async def load(self) -> None:
        """See `Engine`."""
        await self._client.load(self._model)

    async def unload(self) -> None:
        """See `Engine`."""
        await self._client.unload(self._model)

    def _does(self, task: str) -> None:
        if task not in self._tasks:
            raise BadInput(f"this deployment cannot {task}", code="unsupported", param="deployment")

    async def _all(self, requests: Sequence[pb.ModelInferRequest]) -> list[pb.ModelInferResponse]:
        """All responses in order; the first failure cancels the others."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._infer(request, number * ROWS)) for number, request in enumerate(requests)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _infer(self, request: pb.ModelInferRequest, first_row: int) -> pb.ModelInferResponse:
        try:
            return await self._client.infer(request)
        except aio.AioRpcError as error:
            try:
                refused = msgspec.json.decode(error.details() or "", type=_TooLong)
            except msgspec.MsgspecError:
                raise BadInput(error.details() or "the engine refused the input") from error
            raise BadInput(
                f"the text has {refused.tokens} tokens, the model takes {refused.limit}; cut it or set truncate",
                code="context_length_exceeded",
                param=f"texts[{first_row + refused.row}]",
            ) from error


def _usage(responses: Sequence[pb.ModelInferResponse]) -> Usage:
    return Usage(input_tokens=sum(sum(array("i", output(response, "tokens"))) for response in responses))
