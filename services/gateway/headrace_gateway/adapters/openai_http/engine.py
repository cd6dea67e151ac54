"""The engine port over endpoints outside."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from headrace_gateway.adapters.openai_http import shapes
from headrace_gateway.adapters.openai_http.answer import Answer
from headrace_gateway.adapters.openai_http.connection import Connection
from headrace_gateway.adapters.openai_http.errors import error_of_object, error_of_response
from headrace_gateway.adapters.openai_http.pool import Pool, address_of
from headrace_gateway.adapters.openai_http.request import embed_body, generate_body
from headrace_gateway.ports import Envelope
from headrace_kit.config import Secrets
from headrace_kit.config.base import SecretRef
from headrace_kit.config.deployments import OpenAiDeployment
from headrace_kit.errors import BadInput, Busy, HeadraceError, NotReady, Upstream
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1 import messages_pb2 as pb

CHAT, COMPLETIONS, EMBEDDINGS = "/chat/completions", "/completions", "/embeddings"
SECRETS_S = 10.0
"""How long a credential is used before it is read again; one that was refused is read again at once."""

_ERROR_BYTES = 64 << 10
_CALLS_AT_ONCE = 4
_log = logging.getLogger(__name__)


class OpenAiEndpoint:
    """One deployment of `engine: openai`; fulfils `Engine`.

    Args:
        name: the deployment.
        config: its config.
        secrets: where credentials are.
        tls: makes the TLS context.
    """

    def __init__(
        self, name: str, config: OpenAiDeployment, secrets: Secrets, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self.name, self.config = name, config
        self._secrets = secrets
        address = address_of(config.address)
        self._pool = Pool(address, tls, config.connect_timeout, config.idle_timeout, config.keep_alive)
        self._start = {
            path: f"POST {address.path}{path} HTTP/1.1\r\nhost: {address.authority}\r\n".encode()
            for path in (CHAT, COMPLETIONS, EMBEDDINGS)
        }
        self._heads: dict[str, bytes] = {}
        self._read_at = -math.inf
        self._in_flight = 0

    async def generate(
        self, request: pb.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See `Engine`."""
        body = generate_body(request, self.config, stream=not whole)
        answer = Answer(request)
        path = CHAT if request.messages else COMPLETIONS
        self._enter()
        connection: Connection | None = None
        try:
            connection = await self._send(path, body, sent, streams=not whole)
            if whole:
                for chunk in answer.whole(await self._whole(connection)):
                    yield chunk
                return
            await self._stream_begins(connection)
            while not answer.complete:
                data = await connection.piece()
                if not data:
                    break
                for chunk in answer.feed(data):
                    yield chunk
            connection.end_soon()
            for chunk in answer.end():
                yield chunk
        finally:
            if connection is not None:
                connection.end()
            self._in_flight -= 1

    async def embed(self, request: pb.EmbedRequest, sent: Envelope) -> pb.EmbedResponse:
        """See `Engine`."""
        texts = list(request.texts)
        size = self.config.texts_per_call
        room = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def call(part: list[str]) -> shapes.Vectors:
            async with room:
                return await self._vectors(part, request.dimensions, sent)

        self._enter()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call(texts[at : at + size])) for at in range(0, len(texts), size)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._in_flight -= 1
        response = pb.EmbedResponse()
        tokens = 0
        for start, task in zip(range(0, len(texts), size), tasks, strict=True):
            found, part = task.result(), texts[start : start + size]
            for row in _rows(found, len(part)):
                response.embeddings.add(vector=_normalised(row.embedding, request.dimensions or self.config.dimensions))
            counted = found.usage.prompt_tokens if found.usage is not None else None
            tokens += -(-sum(map(len, part)) // 4) if counted is None else max(0, counted)
        response.usage.CopyFrom(Usage(input_tokens=tokens))
        return response

    async def rerank(self, request: pb.RerankRequest, sent: Envelope) -> pb.RerankResponse:
        """Refused: OpenAI's API has no ranking."""
        raise BadInput("the model's endpoint does not rank", code="unsupported", param="model")

    def close(self) -> None:
        """Connections close as soon as nothing uses them."""
        self._pool.close()

    def abort(self) -> None:
        """Close all connections now."""
        self._pool.abort()

    def _enter(self) -> None:
        """Take a place; whoever has it counts `_in_flight` down. Raises Busy when there is none."""
        if self._in_flight >= self.config.max_in_flight:
            raise Busy("too many requests are at the model's endpoint", code="engine_busy", retry_after_s=1)
        self._in_flight += 1

    async def _send(self, path: str, body: bytes, sent: Envelope, *, streams: bool) -> Connection:
        head = self._head(path)
        connection = await self._pool.take(sent.deadline)
        connection.send(
            b"%b%d\r\nx-client-request-id: %b\r\n\r\n%b" % (head, len(body), sent.request_id.encode(), body),
            streams=streams,
            first_byte_s=self.config.first_byte_timeout,
            deadline=sent.deadline,
        )
        return connection

    async def _whole(self, connection: Connection) -> bytes:
        body = await connection.whole()
        self._check(connection, body)
        return body

    async def _stream_begins(self, connection: Connection) -> None:
        await connection.head()
        kind = connection.header(b"content-type") or ""
        if connection.status != 200:
            try:
                body = await connection.whole(_ERROR_BYTES)
            except HeadraceError:
                body = b""
            self._check(connection, body)
        self._check(connection)
        if kind.startswith("text/event-stream"):
            return
        # Some endpoints answer a refusal with 200 and one JSON object.
        try:
            found = shapes.refusal.decode(await connection.whole(_ERROR_BYTES)).error
        except shapes.UNREADABLE:
            found = None
        if found is not None:
            raise error_of_object(found)
        raise Upstream("the model's endpoint answered with something that is not a stream", code="engine_failed")

    def _check(self, connection: Connection, body: bytes = b"") -> None:
        """Raise what a response says that is not an answer; `body` is that of another status than 200."""
        if (connection.header(b"content-encoding") or "identity") != "identity":
            raise Upstream("the model's endpoint compressed its answer unasked", code="engine_failed")
        if connection.status != 200:
            if connection.status in (401, 403):
                self._read_at = -math.inf
            raise error_of_response(connection.status, body, connection.header(b"retry-after"))

    async def _vectors(self, texts: list[str], dimensions: int, sent: Envelope) -> shapes.Vectors:
        connection = await self._send(EMBEDDINGS, embed_body(texts, dimensions, self.config), sent, streams=False)
        try:
            body = await self._whole(connection)
        finally:
            connection.end()
        try:
            found = shapes.vectors.decode(body)
        except shapes.UNREADABLE as error:
            raise Upstream("the model's endpoint sent something that is not vectors", code="engine_failed") from error
        if found.error is not None:
            raise error_of_object(found.error)
        return found

    def _head(self, path: str) -> bytes:
        """Everything of a request up to the value of content-length."""
        now = time.monotonic()
        if now - self._read_at > SECRETS_S or path not in self._heads:
            headers = b"".join(b"%b: %b\r\n" % (name, value) for name, value in self._headers())
            self._heads = {path: start + headers + b"content-length: " for path, start in self._start.items()}
            self._read_at = now
        return self._heads[path]

    def _headers(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"content-type", b"application/json"
        yield b"accept-encoding", b"identity"
        given = {"user-agent": "headrace", **self.config.headers}
        for name, value in given.items():
            yield name.encode(), (self._secret(value) if isinstance(value, SecretRef) else value).encode()
        if self.config.credentials is not None:
            yield b"authorization", b"Bearer " + self._secret(self.config.credentials).encode()

    def _secret(self, ref: SecretRef) -> str:
        try:
            value = self._secrets.require(ref)
        except NotReady as error:
            _log.error("deployment %s: %s", self.name, error.message)
            raise Upstream("the gateway has no credentials for the model's endpoint", code="engine_auth") from error
        if not (value.isascii() and value.isprintable()):
            _log.error("deployment %s: secret %r cannot be part of a header", self.name, ref.secret)
            raise Upstream("the gateway has no credentials for the model's endpoint", code="engine_auth")
        return value


def _rows(found: shapes.Vectors, count: int) -> Sequence[shapes.Vector]:
    rows = sorted(found.data or (), key=lambda row: row.index)
    if [row.index for row in rows] != list(range(count)):
        raise Upstream("the model's endpoint did not send one vector for each text", code="engine_failed")
    return rows


def _normalised(numbers: Sequence[float], dimensions: int | None) -> bytes:
    if len(numbers) != dimensions:
        raise Upstream(
            f"vectors of the model have {len(numbers)} dimensions, not {dimensions}", code="engine_misconfigured"
        )
    norm = math.sqrt(math.fsum(value * value for value in numbers)) or 1.0
    return array("f", (value / norm for value in numbers)).tobytes()
