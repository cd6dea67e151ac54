"""The asynchronous client over gRPC: the same names and results as over HTTP, for the calls that both have."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack

from headrace import _wire
from headrace._grpc import GrpcTransport
from headrace.calls.admin import LOAD_TIMEOUT_S
from headrace.calls.chat import Messages
from headrace.retry import Retry
from headrace.settings import Settings
from headrace.stream import ChatStream
from headrace.types.admin import AuditEntry, ConfigVersion, CreatedKey, Deployment, Key, KeyLimits
from headrace.types.chat import ChatChunk, ChatCompletion, ChatOptions
from headrace.types.models import Embeddings, Model, Ranking
from headrace.types.usage import TeamBudget
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1.service_pb2_grpc import AdminServiceStub, GatewayServiceStub

T = TypeVar("T")


class AsyncHeadraceGrpc:
    """A platform over gRPC; use it in one event loop, and as an `async with` block or with `aclose`.

    Args:
        address: host:port. Default: `HEADRACE_GRPC`, or what `make up` wrote.
        api_key: default: `HEADRACE_API_KEY`, or what `make up` wrote.
        timeout_s: seconds for a call that names none; for a stream, for the whole of it. Sent as the deadline.
        retry: when calls are repeated.
        tls: talk TLS, checked against the system's certificates.
        tenant: the team that is asked for, in place of the key's own. Needs a key with the scope `admin`.

    Raises:
        NotConfigured: an argument is missing and nothing else names it.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        retry: Retry | None = None,
        tls: bool = False,
        tenant: str | None = None,
    ) -> None:
        found = Settings() if address and api_key else Settings.find()
        self._grpc = GrpcTransport(
            address or found.require_grpc(),
            api_key or found.require_api_key(),
            timeout_s=timeout_s,
            retry=retry or Retry(),
            tls=tls,
            tenant=tenant,
        )

    @property
    def _gateway(self) -> Any:
        return self._grpc.stub(GatewayServiceStub)

    @property
    def _admin(self) -> Any:
        return self._grpc.stub(AdminServiceStub)

    async def __aenter__(self) -> AsyncHeadraceGrpc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the channel; open streams end."""
        await self._grpc.close()

    async def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatCompletion:
        """See `AsyncHeadrace.chat`."""
        request = _wire.generate_request(messages, options)
        answer = await self._grpc.unary(self._gateway.Generate, request, timeout_s=options.get("timeout_s"))
        return _wire.completion(answer)

    def chat_stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatStream:
        """See `AsyncHeadrace.chat_stream`. Here `timeout_s` bounds the whole stream: it is the call's deadline."""
        request = _wire.generate_request(messages, options)
        return ChatStream(self._chunks(request, options.get("timeout_s")))

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None = None) -> Embeddings:
        """See `AsyncHeadrace.embed`."""
        request = pb.EmbedRequest(model=model, texts=texts, dimensions=dimensions or 0)
        return _wire.embeddings(await self._grpc.unary(self._gateway.Embed, request, idempotent=True))

    async def rerank(
        self, query: str, documents: Sequence[str], *, model: str = "reranker", top_n: int | None = None
    ) -> Ranking:
        """See `AsyncHeadrace.rerank`."""
        request = pb.RerankRequest(model=model, query=query, documents=documents, top_n=top_n or 0)
        return _wire.ranking(await self._grpc.unary(self._gateway.Rerank, request, idempotent=True))

    async def models(self) -> list[Model]:
        """See `AsyncHeadrace.models`."""
        answer = await self._grpc.unary(self._gateway.ListModels, pb.ListModelsRequest(), idempotent=True)
        return [Model(entry.id, entry.created, entry.task or None) for entry in answer.models]

    async def send_feedback(
        self,
        trace_id: str,
        *,
        span_id: str | None = None,
        score: float | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> str:
        """Like `AsyncHeadrace.send_feedback`; returns the feedback's id."""
        request = pb.FeedbackRequest(
            trace_id=trace_id, span_id=span_id or "", score=score, label=label or "", comment=comment or ""
        )
        answer = await self._grpc.unary(self._gateway.SendFeedback, request)
        return str(answer.id)

    async def create_key(
        self,
        tenant: str,
        name: str,
        *,
        scopes: Sequence[str] = (),
        expires_at: str | None = None,
        limits: KeyLimits | None = None,
    ) -> CreatedKey:
        """See `AsyncHeadrace.create_key`."""
        request = pb.CreateKeyRequest(
            tenant=tenant,
            name=name,
            scopes=scopes,
            expires_at=expires_at or "",
            limits=_wire.key_limits_sent(limits),
        )
        answer = await self._grpc.unary(self._admin.CreateKey, request)
        return CreatedKey(answer.id, answer.key)

    async def keys(self, *, tenant: str | None = None) -> list[Key]:
        """See `AsyncHeadrace.keys`."""
        request = pb.ListKeysRequest(tenant=tenant or "")
        answer = await self._grpc.unary(self._admin.ListKeys, request, idempotent=True)
        return [_wire.key(entry) for entry in answer.keys]

    async def rotate_key(self, key_id: str, *, overlap: str | None = None) -> CreatedKey:
        """See `AsyncHeadrace.rotate_key`."""
        answer = await self._grpc.unary(self._admin.RotateKey, pb.RotateKeyRequest(id=key_id, overlap=overlap or ""))
        return CreatedKey(answer.id, answer.key)

    async def limit_key(self, key_id: str, limits: KeyLimits | None) -> Key:
        """See `AsyncHeadrace.limit_key`."""
        request = pb.LimitKeyRequest(id=key_id, limits=_wire.key_limits_sent(limits))
        return _wire.key((await self._grpc.unary(self._admin.LimitKey, request)).key)

    async def audit(
        self,
        *,
        tenant: str | None = None,
        action: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> list[AuditEntry]:
        """See `AsyncHeadrace.audit`."""
        request = pb.ListAuditRequest(tenant=tenant or "", action=action or "", before=before or "", limit=limit)
        answer = await self._grpc.unary(self._admin.ListAudit, request, idempotent=True)
        return [_wire.audit_entry(entry) for entry in answer.entries]

    async def budget(self, *, tenant: str | None = None) -> TeamBudget:
        """See `AsyncHeadrace.budget`."""
        request = pb.GetBudgetRequest(tenant=tenant or "")
        return _wire.team_budget(await self._grpc.unary(self._gateway.GetBudget, request, idempotent=True))

    async def revoke_key(self, key_id: str) -> None:
        """See `AsyncHeadrace.revoke_key`."""
        await self._grpc.unary(self._admin.RevokeKey, pb.RevokeKeyRequest(id=key_id))

    async def deployments(self) -> list[Deployment]:
        """See `AsyncHeadrace.deployments`."""
        answer = await self._grpc.unary(self._admin.ListDeployments, pb.ListDeploymentsRequest(), idempotent=True)
        return [_wire.deployment(entry) for entry in answer.deployments]

    async def deployment(self, name: str) -> Deployment:
        """See `AsyncHeadrace.deployment`."""
        request = pb.ListDeploymentsRequest(names=[name])
        answer = await self._grpc.unary(self._admin.ListDeployments, request, idempotent=True)
        return _wire.deployment(answer.deployments[0])

    async def load_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """See `AsyncHeadrace.load_deployment`."""
        request = pb.LoadDeploymentRequest(deployment=name, wait=wait)
        return _wire.deployment(await self._grpc.unary(self._admin.LoadDeployment, request, timeout_s=timeout_s))

    async def unload_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """See `AsyncHeadrace.unload_deployment`."""
        request = pb.UnloadDeploymentRequest(deployment=name, wait=wait)
        return _wire.deployment(await self._grpc.unary(self._admin.UnloadDeployment, request, timeout_s=timeout_s))

    async def warm_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """See `AsyncHeadrace.warm_deployment`."""
        request = pb.WarmDeploymentRequest(deployment=name, wait=wait)
        return _wire.deployment(await self._grpc.unary(self._admin.WarmDeployment, request, timeout_s=timeout_s))

    async def config_version(self) -> ConfigVersion:
        """See `AsyncHeadrace.config_version`."""
        request = pb.GetConfigVersionRequest()
        answer = await self._grpc.unary(self._admin.GetConfigVersion, request, idempotent=True)
        return ConfigVersion(answer.active, answer.pending, answer.error)

    async def _chunks(self, request: pb.GenerateRequest, timeout_s: float | None) -> AsyncGenerator[ChatChunk, None]:
        messages = self._grpc.stream(self._gateway.GenerateStream, request, timeout_s=timeout_s)
        try:
            async for message in messages:
                yield _wire.chunk(message)
        finally:
            await messages.aclose()
