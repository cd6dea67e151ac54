"""How much two answers mean the same, by a deployment that embeds."""

from __future__ import annotations

import numpy as np

from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Envelope
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.plan import Target, compile_target, single
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1 import messages_pb2 as pb

STAGE = 110
"""Stage of these calls in the ledger, beyond those of any cascade and of the cache."""


class Alike:
    """Compares texts by the cosine of their vectors.

    Args:
        attempts: runs the deployment, so that its calls are in the ledger.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def __call__(self, ctx: RequestContext, deployment: str, given: str, answer: str) -> float:
        """0 to 1; opposites have 0 too. Raises HeadraceError."""
        if deployment not in ctx.table.config.deployments:
            raise NotReady(f"there is no deployment {deployment!r}")

        async def once(target: Target, sent: Envelope) -> tuple[pb.EmbedResponse, Usage]:
            request = pb.EmbedRequest(deployment=target.name, texts=[given, answer], truncate=True)
            found = await self._attempts.engine.embed(request, sent)
            return found, found.usage

        work = Work(ctx, STAGE, single(compile_target(deployment, ctx.table.config)), 1, ())
        one, other = (
            np.frombuffer(entry.vector, dtype="<f4") for entry in (await self._attempts.unary(work, once)).embeddings
        )
        length = float(np.linalg.norm(one) * np.linalg.norm(other))
        return max(0.0, float(one @ other) / length) if length else 0.0
