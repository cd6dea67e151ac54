"""`POST /v1/embeddings` and `POST /v1/rerank`."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from headrace_gateway.admission.door import Visit
from headrace_gateway.calls import EmbedCall, RerankCall
from headrace_gateway.http_api.answer_schema import EmbeddingAnswer, RerankAnswer
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode
from headrace_gateway.http_api.refused import refuse
from headrace_gateway.http_api.router import Route
from headrace_gateway.unary import Vectors
from headrace_kit.errors import BadInput


class EmbedBody(Struct, forbid_unknown_fields=True):
    """`POST /v1/embeddings` in OpenAI's shape."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | Annotated[list[Any], Meta(extra_json_schema={"items": {"type": "string"}})]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    user: str | None = None


class Document(Struct, forbid_unknown_fields=True):
    """A document as an object."""

    text: str


class RerankBody(Struct, forbid_unknown_fields=True):
    """`POST /v1/rerank` in Cohere's and Jina's shape; Cohere's newer clients call it `/v2/rerank`."""

    model: Annotated[str, Meta(min_length=1)]
    query: str
    documents: list[str | Document]
    top_n: Annotated[int, Meta(ge=1, le=1000)] | None = None
    return_documents: bool | None = None
    max_chunks_per_doc: Any | UnsetType = UNSET
    max_tokens_per_doc: Any | UnsetType = UNSET
    priority: Any | UnsetType = UNSET
    rank_fields: Any | UnsetType = UNSET


_embed = msgspec.json.Decoder(EmbedBody)
_rerank = msgspec.json.Decoder(RerankBody)


class VectorsApi:
    """Vectors and rankings."""

    def __init__(self, vectors: Vectors, max_body_bytes: Callable[[], int]) -> None:
        self._vectors = vectors
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """The routes of this part."""
        ranking = [
            Route("POST", path, self.rerank, body=RerankBody, answer=RerankAnswer, repeatable=True)
            for path in ("/v1/rerank", "/v2/rerank")
        ]
        return [
            Route("POST", "/v1/embeddings", self.embed, body=EmbedBody, answer=EmbeddingAnswer, repeatable=True),
            *ranking,
        ]

    async def embed(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Vectors of texts."""
        body = decode(_embed, await request.body(self._max_body_bytes()))
        request.follow_client()
        texts = [body.input] if isinstance(body.input, str) else body.input
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise BadInput(
                    f"input[{number}] is not text; token numbers are not supported",
                    code="unsupported_parameter",
                    param=f"input[{number}]",
                )
        call = EmbedCall(body.model, texts, body.dimensions or 0, body.user or "")
        vectors, usage = await self._vectors.embed(visit.ctx, call)
        shown = _base64 if body.encoding_format == "base64" else _floats
        data = [
            {"object": "embedding", "index": number, "embedding": shown(vector)}
            for number, vector in enumerate(vectors)
        ]
        tokens = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        return json_response(
            {"object": "list", "data": data, "model": body.model, "usage": tokens, "headrace": visit.ctx.outcome},
            visit.ctx,
        )

    async def rerank(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Documents by relevance."""
        body = decode(_rerank, await request.body(self._max_body_bytes()))
        refuse(body)
        request.follow_client()
        documents = [entry if isinstance(entry, str) else entry.text for entry in body.documents]
        call = RerankCall(body.model, body.query, documents, body.top_n or 0)
        ranked, usage = await self._vectors.rerank(visit.ctx, call)
        results: list[dict[str, Any]] = [{"index": item.index, "relevance_score": item.score} for item in ranked]
        if body.return_documents:
            for result in results:
                result["document"] = {"text": documents[result["index"]]}
        answer = {
            "id": visit.ctx.request_id,
            "object": "list",
            "model": body.model,
            "results": results,
            "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
            "headrace": visit.ctx.outcome,
        }
        return json_response(answer, visit.ctx)


def _base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode("ascii")


def _floats(vector: bytes) -> list[float]:
    return array("f", vector).tolist()
