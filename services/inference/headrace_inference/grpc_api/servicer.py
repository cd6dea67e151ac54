"""`InferenceService`: decode, call the domain, encode."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_inference.domain.deployments import Deployment
from headrace_inference.domain.inference import Inference
from headrace_inference.grpc_api.convert import chunk_proto, generation_of, response_of, usage_proto
from headrace_kit.config.deployments import OnnxDeployment
from headrace_kit.errors import BadInput
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.servicer import RpcRuntime, rpc
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc

_GENERATE = {"gateway", "guardrails"}
_TEXTS = {"gateway", "retrieval"}
_STATUS = {"gateway", "rollout", "retrieval", "guardrails", "tracing"}
_CONTROL = {"rollout", "gateway"}


class InferenceServicer(service_pb2_grpc.InferenceServiceServicer):
    """The gRPC face of `Inference`.

    Args:
        runtime: what the `rpc` decorator needs.
        inference: the domain.
        drain_s: longest wait of UnloadDeployment for requests in work, in seconds.
    """

    def __init__(self, runtime: RpcRuntime, inference: Inference, drain_s: float) -> None:
        self.rpc_runtime = runtime
        self._inference = inference
        self._drain_s = drain_s

    @rpc(callers=_GENERATE)
    async def Generate(self, request: pb.GenerateRequest, call: Call) -> pb.GenerateResponse:
        """See the proto."""
        async with aclosing(self._inference.generate(request.deployment, generation_of(request))) as chunks:
            return response_of([chunk async for chunk in chunks])

    @rpc(callers=_GENERATE)
    async def GenerateStream(self, request: pb.GenerateRequest, call: Call) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See the proto."""
        async with aclosing(self._inference.generate(request.deployment, generation_of(request))) as chunks:
            async for chunk in chunks:
                yield chunk_proto(chunk)

    @rpc(callers=_TEXTS)
    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """See the proto."""
        found = await self._inference.embed(
            request.deployment, request.texts, truncate=request.truncate, dimensions=request.dimensions
        )
        vectors = [pb.Embedding(vector=vector) for vector in found.vectors]
        return pb.EmbedResponse(embeddings=vectors, usage=usage_proto(found.usage))

    @rpc(callers=_TEXTS)
    async def Rerank(self, request: pb.RerankRequest, call: Call) -> pb.RerankResponse:
        """See the proto."""
        found = await self._inference.rerank(request.deployment, request.query, request.documents)
        return pb.RerankResponse(scores=found.scores, usage=usage_proto(found.usage))

    @rpc(callers={"guardrails"})
    async def Classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
        """See the proto. No engine in the config's vocabulary classifies yet, so every deployment refuses."""
        deployment = self._inference.deployments.get(request.deployment)
        raise BadInput(
            f"deployment {deployment.name!r} can {', '.join(deployment.tasks)}, not classify",
            code="unsupported",
            param="deployment",
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
        await self._inference.deployments.refresh()
        return pb.ListDeploymentsResponse(deployments=[_status(entry) for entry in self._inference.deployments])

    @rpc(callers=_CONTROL)
    async def LoadDeployment(self, request: pb.LoadDeploymentRequest, call: Call) -> pb.DeploymentStatus:
        """See the proto."""
        return _status(await self._inference.deployments.load(request.deployment))

    @rpc(callers=_CONTROL)
    async def UnloadDeployment(self, request: pb.UnloadDeploymentRequest, call: Call) -> pb.DeploymentStatus:
        """See the proto."""
        return _status(await self._inference.deployments.unload(request.deployment, self._drain_s))


def _load(deployment: Deployment, now: float) -> pb.DeploymentLoad:
    return pb.DeploymentLoad(
        deployment=deployment.name,
        waiting=deployment.admission.waiting,
        running=deployment.admission.running,
        slots=deployment.admission.slots,
        tokens_per_second=deployment.load.tokens_per_second(now),
        first_token_ms=deployment.load.first_token_ms,
        ready=deployment.shown_state.state == "ready",
    )


def _status(deployment: Deployment) -> pb.DeploymentStatus:
    config, state = deployment.config, deployment.shown_state
    context = config.max_input_tokens if isinstance(config, OnnxDeployment) else config.context_tokens
    return pb.DeploymentStatus(
        name=deployment.name,
        engine=config.engine,
        model=deployment.model,
        state=state.state,
        detail=state.detail,
        tasks=deployment.tasks,
        context_tokens=context,
    )
