"""`InferenceService`: decode, call the domain, encode."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_inference.domain.admission import Claim
from headrace_inference.domain.deployments import Deployment
from headrace_inference.domain.inference import Asker, Inference
from headrace_inference.domain.lifecycle import Lifecycle
from headrace_inference.domain.validate import accepts_of, adapters_of
from headrace_inference.grpc_api.convert import chunk_proto, generation_of, response_of, usage_proto
from headrace_inference.grpc_api.ranks import asking
from headrace_kit.config.deployments import OnnxDeployment
from headrace_kit.errors import BadInput
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.servicer import RpcRuntime, rpc
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc

_GENERATE = {"gateway", "guardrails", "retrieval"}
_TEXTS = {"gateway", "retrieval", "guardrails"}
_STATUS = {"gateway", "rollout", "retrieval", "guardrails", "tracing"}
_CONTROL = {"rollout", "gateway"}
_MOST_ATTEMPTS = 1000


class InferenceServicer(service_pb2_grpc.InferenceServiceServicer):
    """The gRPC face of `Inference` and `Lifecycle`.

    Args:
        runtime: what the `rpc` decorator needs.
        inference: the calls to models.
        lifecycle: loading and unloading.
    """

    def __init__(self, runtime: RpcRuntime, inference: Inference, lifecycle: Lifecycle) -> None:
        self.rpc_runtime = runtime
        self._inference = inference
        self._lifecycle = lifecycle

    @rpc(callers=_GENERATE)
    async def Generate(self, request: pb.GenerateRequest, call: Call) -> pb.GenerateResponse:
        """See the proto."""
        asker = _asker(call, request.attempt)
        generation, ranks = asking(request, generation_of(request, asker.tenant))
        async with aclosing(self._inference.generate(request.deployment, generation, asker)) as chunks:
            return response_of([chunk async for chunk in chunks], ranks)

    @rpc(callers=_GENERATE)
    async def GenerateStream(self, request: pb.GenerateRequest, call: Call) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See the proto."""
        asker = _asker(call, request.attempt)
        generation, ranks = asking(request, generation_of(request, asker.tenant))
        async with aclosing(self._inference.generate(request.deployment, generation, asker)) as chunks:
            async for chunk in chunks:
                yield chunk_proto(chunk, ranks)

    @rpc(callers=_TEXTS | {"tracing"})
    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """See the proto."""
        found = await self._inference.embed(
            request.deployment,
            request.texts,
            truncate=request.truncate,
            dimensions=request.dimensions,
            asker=_asker(call),
        )
        vectors = [pb.Embedding(vector=vector) for vector in found.vectors]
        return pb.EmbedResponse(embeddings=vectors, usage=usage_proto(found.usage))

    @rpc(callers=_TEXTS)
    async def Rerank(self, request: pb.RerankRequest, call: Call) -> pb.RerankResponse:
        """See the proto."""
        found = await self._inference.rerank(request.deployment, request.query, request.documents, _asker(call))
        return pb.RerankResponse(scores=found.scores, usage=usage_proto(found.usage))

    @rpc(callers={"gateway", "guardrails"})
    async def Classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
        """See the proto."""
        found = await self._inference.classify(request.deployment, request.texts, _asker(call))
        return pb.ClassifyResponse(classifications=[pb.Classification(scores=scores) for scores in found.scores])

    @rpc(callers={"gateway"})
    async def GetUsage(self, request: pb.GetUsageRequest, call: Call) -> pb.GetUsageResponse:
        """See the proto."""
        if len(request.attempts) > _MOST_ATTEMPTS:
            raise BadInput(f"at most {_MOST_ATTEMPTS} attempts", param="attempts")
        found = [(name, count) for name in request.attempts if (count := self._inference.counts.get(name)) is not None]
        return pb.GetUsageResponse(
            attempts=[
                pb.AttemptUsage(attempt=name, usage=usage_proto(count.usage), running=count.running)
                for name, count in found
            ]
        )

    @rpc(callers=_STATUS)
    async def GetLoad(self, request: pb.GetLoadRequest, call: Call) -> pb.GetLoadResponse:
        """See the proto."""
        deployments = self._inference.deployments
        wanted = [deployments.get(name) for name in request.deployments] or list(deployments)
        now = time.monotonic()
        return pb.GetLoadResponse(loads=[_load(deployment, now) for deployment in wanted])

    @rpc(callers=_STATUS)
    async def ListDeployments(self, request: pb.ListDeploymentsRequest, call: Call) -> pb.ListDeploymentsResponse:
        """See the proto."""
        await self._lifecycle.refresh()
        return pb.ListDeploymentsResponse(deployments=[_status(entry) for entry in self._inference.deployments])

    @rpc(callers=_CONTROL)
    async def LoadDeployment(self, request: pb.LoadDeploymentRequest, call: Call) -> pb.DeploymentStatus:
        """See the proto."""
        return _status(await self._lifecycle.load(request.deployment))

    @rpc(callers=_CONTROL)
    async def WarmDeployment(self, request: pb.WarmDeploymentRequest, call: Call) -> pb.DeploymentStatus:
        """See the proto."""
        return _status(await self._lifecycle.warm(request.deployment))

    @rpc(callers=_CONTROL)
    async def UnloadDeployment(self, request: pb.UnloadDeploymentRequest, call: Call) -> pb.DeploymentStatus:
        """See the proto."""
        return _status(await self._lifecycle.unload(request.deployment))


def _asker(call: Call, attempt: str = "") -> Asker:
    # The empty tenant is the platform's own, whose prompts may stay in a cache that serves everybody: a service that
    # acts for itself still carries texts that are somebody's.
    caller = call.caller
    return Asker(caller.tenant or f"@{caller.service}", call.deadline, attempt)


def _load(deployment: Deployment, now: float) -> pb.DeploymentLoad:
    admission, load = deployment.admission, deployment.load
    return pb.DeploymentLoad(
        deployment=deployment.name,
        waiting=admission.waiting,
        running=admission.running,
        slots=admission.slots,
        tokens_per_second=load.tokens_per_second(now),
        first_token_ms=load.first_token_ms,
        ready=deployment.ready,
        output_token_ms=load.output_token_ms,
        wait_ms=admission.wait_s(Claim()) * 1000,
        kv_cache_used=deployment.stats.kv_cache_used,
    )


def _status(deployment: Deployment) -> pb.DeploymentStatus:
    config, state = deployment.config, deployment.shown_state
    context = config.max_input_tokens if isinstance(config, OnnxDeployment) else getattr(config, "context_tokens", 0)
    return pb.DeploymentStatus(
        name=deployment.name,
        engine=getattr(config, "engine", ""),
        model=deployment.model,
        state=state.state,
        detail=state.detail,
        tasks=deployment.tasks,
        context_tokens=context,
        adapters=adapters_of(config),
        accepts=accepts_of(config),
        version=deployment.version,
        load_error=deployment.load_error,
    )
