"""The platform as evaluation suites see it: the gateway's public gRPC API, as a service that may name an arm."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from headrace_evals.ports import Answer, Arm, AskFailed, Away
from headrace_evals.suite import Options
from headrace_kit.errors import BudgetSpent, Busy, Forbidden, HeadraceError, NotFound, Unauthenticated
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc
from headrace_rollout.adapters.reach import unreachable

_NOBODY_ASKED = (Unauthenticated, Forbidden, NotFound, Busy, BudgetSpent)
"""What says nothing of a model: nobody was asked, or nobody may ask."""

_NOT_HERE = "rollout_not_granted"
_EMBED_S = 60.0


class GatewayPlatform:
    """`headrace_evals.ports.Platform` over the gateway.

    Args:
        peer: the connection.
        tenant: for whom questions are asked.
    """

    def __init__(self, peer: Peer, tenant: str) -> None:
        self._peer, self._who = peer, Identity("rollout", tenant, "rollout")
        self._stub = peer.stub(service_pb2_grpc.GatewayServiceStub)

    async def ask(self, arm: Arm, messages: Sequence[dict[str, Any]], options: Options) -> Answer:
        """See `Platform`."""
        request = pb.GenerateRequest(
            model=arm.model,
            messages=[_message(turn) for turn in messages],
            sampling=_sampling(options),
            headrace=pb.HeadraceOptions(
                collections=options.collections,
                guardrails=options.guardrails,
                cache="bypass",
                rollout=arm.rollout,
                arm=arm.arm,
            ),
        )
        began = time.monotonic()
        said = await self._call(self._stub.Generate, request, options.timeout_s)
        outcome = said.headrace
        return Answer(
            said.choices[0].text,
            1000 * (time.monotonic() - began),
            float(outcome.cost_usd or 0),
            said.usage.input_tokens,
            said.usage.output_tokens,
            outcome.deployment,
            outcome.trace_id,
            [citation.document_id for citation in outcome.citations],
        )

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """See `Platform`."""
        found = await self._call(self._stub.Embed, pb.EmbedRequest(model=model, texts=texts), _EMBED_S)
        return [list(vector.values) for vector in found.embeddings]

    async def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return await self._peer.unary(method, request, Outbound(self._who).within(timeout_s))
        except HeadraceError as error:
            if isinstance(error, _NOBODY_ASKED) or error.code == _NOT_HERE or unreachable(error):
                raise Away(error.message) from error
            raise AskFailed(error.code, error.message) from error


def _sampling(options: Options) -> chat_pb2.Sampling:
    made = chat_pb2.Sampling(
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        top_p=options.top_p,
        seed=options.seed,
        stop=options.stop,
    )
    asked = options.response_format or {}
    kind = str(asked.get("type", ""))
    if kind == "json_schema":
        wanted = asked.get("json_schema") or {}
        schema = json.dumps(wanted.get("schema") or {}, sort_keys=True)
        made.response_format.CopyFrom(
            chat_pb2.ResponseFormat(type=kind, name=str(wanted.get("name", "")), schema_json=schema)
        )
    elif kind:
        made.response_format.type = kind
    return made


def _message(turn: dict[str, Any]) -> chat_pb2.Message:
    made = chat_pb2.Message(role=turn["role"], name=str(turn.get("name") or ""))
    made.tool_call_id = str(turn.get("tool_call_id") or "")
    content: Any = turn.get("content")
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for part in parts:
        if part.get("type") == "text":
            made.parts.add(text=part["text"])
        elif part.get("type") == "image_url":
            image = part["image_url"]
            made.parts.add(image=chat_pb2.ImagePart(url=image["url"], detail=image.get("detail", "")))
        else:
            raise Away(f"a suite of a rollout cannot ask with a part of type {part.get('type')!r}: text and image_url")
    return made
