"""Chat, embeddings, reranking, models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Unpack

import msgspec

from headrace.calls._base import Calls, Listed
from headrace.errors import StreamBroken
from headrace.stream import ChatStream
from headrace.types.chat import ChatChunk, ChatCompletion, ChatOptions, Message
from headrace.types.models import Embeddings, Model, Ranking

Messages = str | Sequence[Message | Mapping[str, Any]]
"""A question, or a conversation in order."""

DEFAULT_MODEL = "assistant"
_OURS = ("collections", "guardrails", "conversation_id", "user", "groups", "cache", "route")
_CHUNK = msgspec.json.Decoder(ChatChunk, strict=False)


class ChatCalls(Calls):
    """What product developers use most."""

    async def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatCompletion:
        """Answer a question or go on with a conversation; returns when the whole answer is there.

        Raises:
            BadRequest: the request cannot be served; `param` names the field.
            ContentBlocked: a guardrail policy refused the text.
            NotFound: no such model or collection, or not yours.
            RateLimited: a limit was reached, also after retries.
        """
        body = chat_body(messages, options)
        return await self._http.call(
            "POST", "/v1/chat/completions", ChatCompletion, body=body, timeout_s=options.get("timeout_s")
        )

    def chat_stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatStream:
        """Like `chat`, in chunks while the answer is made. Nothing is sent before the first chunk is asked for.

        The chunks raise what `chat` raises, and `StreamBroken` when the answer breaks off.
        """
        body = chat_body(messages, options) | {"stream": True, "stream_options": {"include_usage": True}}
        return ChatStream(self._chunks(body, options.get("timeout_s")))

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors, in their order."""
        body: dict[str, Any] = {"model": model, "input": list(texts)}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return await self._http.call("POST", "/v1/embeddings", Embeddings, body=body)

    async def rerank(
        self, query: str, documents: Sequence[str], *, model: str = "reranker", top_n: int | None = None
    ) -> Ranking:
        """Order documents by their relevance to a query, best first; at most `top_n`, by default all."""
        body: dict[str, Any] = {"model": model, "query": query, "documents": list(documents)}
        if top_n is not None:
            body["top_n"] = top_n
        return await self._http.call("POST", "/v1/rerank", Ranking, body=body)

    async def models(self) -> list[Model]:
        """The models that your team may name."""
        return (await self._http.call("GET", "/v1/models", Listed[Model])).data

    async def _chunks(self, body: dict[str, Any], timeout_s: float | None) -> AsyncGenerator[ChatChunk, None]:
        events = self._http.events("/v1/chat/completions", body, timeout_s=timeout_s)
        try:
            async for data in events:
                try:
                    chunk = _CHUNK.decode(data)
                except msgspec.DecodeError as error:
                    raise StreamBroken(f"a chunk is not what was expected: {error}") from error
                yield chunk
        finally:
            await events.aclose()


def conversation(messages: Messages) -> list[Message | Mapping[str, Any]]:
    """Messages as a list of turns."""
    return [Message("user", messages)] if isinstance(messages, str) else list(messages)


def chat_body(messages: Messages, options: ChatOptions) -> dict[str, Any]:
    """The body of a chat request."""
    body: dict[str, Any] = {"model": DEFAULT_MODEL, "messages": conversation(messages)}
    extras: dict[str, Any] = {}
    for name, value in options.items():
        if name != "timeout_s" and value is not None:
            (extras if name in _OURS else body)[name] = value
    if extras:
        body["headrace"] = extras
    choice = body.get("tool_choice")
    if choice is not None and choice not in ("auto", "none", "required"):
        body["tool_choice"] = {"type": "function", "function": {"name": choice}}
    return body
