"""Between protobuf messages and the types of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from headrace.calls.chat import DEFAULT_MODEL, Messages, conversation
from headrace.errors import BadRequest
from headrace.types import admin, chat, models, usage
from headrace.types.documents import Span
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2 as pb

_SAMPLING = ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n", "tool_choice")
_HEADRACE = ("collections", "guardrails", "conversation_id", "user", "groups", "cache", "route")


def generate_request(messages: Messages, options: chat.ChatOptions) -> pb.GenerateRequest:
    """The request of a chat."""
    given: Mapping[str, Any] = {name: value for name, value in options.items() if value is not None}
    sampling = chat_pb2.Sampling(**{name: given[name] for name in _SAMPLING if name in given}, stop=given.get("stop"))
    for tool in given.get("tools", ()):
        function = tool["function"]
        sampling.tools.add(
            name=function["name"],
            description=function.get("description", ""),
            parameters_json=_json(function.get("parameters")),
            strict=bool(function.get("strict")),
        )
    if "response_format" in given:
        shape = given["response_format"]
        schema = shape.get("json_schema", {})
        sampling.response_format.CopyFrom(
            chat_pb2.ResponseFormat(
                type=shape["type"], name=schema.get("name", ""), schema_json=_json(schema.get("schema"))
            )
        )
    return pb.GenerateRequest(
        model=given.get("model", DEFAULT_MODEL),
        messages=[_turn(message) for message in conversation(messages)],
        sampling=sampling,
        headrace=pb.HeadraceOptions(**{name: given[name] for name in _HEADRACE if name in given}),
    )


def completion(answer: pb.GenerateResponse) -> chat.ChatCompletion:
    """A whole answer."""
    return chat.ChatCompletion(
        id=answer.id,
        model=answer.model,
        choices=[
            chat.Choice(
                index=choice.index,
                finish_reason=choice.finish_reason or None,
                message=chat.Message(
                    "assistant",
                    choice.text or None,
                    tool_calls=_tool_calls(choice.tool_calls),
                    reasoning=choice.reasoning or None,
                ),
            )
            for choice in answer.choices
        ],
        usage=_usage(answer.usage) if answer.HasField("usage") else None,
        headrace=_outcome(answer.headrace),
    )


def chunk(message: pb.GenerateChunk) -> chat.ChatChunk:
    """A piece of an answer. One that carries nothing of a choice has none, like OpenAI's usage chunk."""
    says = message.text or message.tool_calls or message.finish_reason or message.reasoning
    delta = chat.Delta(
        content=message.text or None,
        tool_calls=_tool_calls(message.tool_calls),
        reasoning=message.reasoning or None,
    )
    return chat.ChatChunk(
        id=message.id,
        choices=[chat.ChunkChoice(delta, message.index, message.finish_reason or None)] if says else [],
        usage=_usage(message.usage) if message.HasField("usage") else None,
        headrace=_outcome(message.headrace) if message.HasField("headrace") else None,
    )


def embeddings(answer: pb.EmbedResponse) -> models.Embeddings:
    """Vectors in the order of the texts."""
    return models.Embeddings(
        data=[models.Embedding(list(entry.values), index) for index, entry in enumerate(answer.embeddings)],
        model=answer.model,
        usage=_usage(answer.usage),
    )


def ranking(answer: pb.RerankResponse) -> models.Ranking:
    """Documents by relevance."""
    return models.Ranking(
        results=[models.Ranked(entry.index, entry.score) for entry in answer.results],
        model=answer.model,
        usage=_usage(answer.usage),
    )


def key(entry: pb.KeyInfo) -> admin.Key:
    """A key without its secret."""
    return admin.Key(
        id=entry.id,
        tenant=entry.tenant,
        name=entry.name,
        scopes=list(entry.scopes),
        created_at=entry.created_at or None,
        expires_at=entry.expires_at or None,
        revoked_at=entry.revoked_at or None,
        rotated_at=entry.rotated_at or None,
        previous_until=entry.previous_until or None,
        limits=key_limits(entry.limits) if entry.HasField("limits") else None,
    )


def key_limits(limits: pb.KeyLimits) -> admin.KeyLimits:
    """What is set of a key's limits."""
    return admin.KeyLimits(**{field.name: value for field, value in limits.ListFields()})


def key_limits_sent(limits: admin.KeyLimits | None) -> pb.KeyLimits | None:
    """A key's limits as they are sent."""
    if limits is None:
        return None
    return pb.KeyLimits(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests,
    )


def audit_entry(entry: pb.AuditEntry) -> admin.AuditEntry:
    """Who changed what."""
    return admin.AuditEntry(
        id=entry.id,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        tenant=entry.tenant or None,
        subject=entry.subject,
        before=msgspec.json.decode(entry.before_json) if entry.before_json else None,
        after=msgspec.json.decode(entry.after_json) if entry.after_json else None,
    )


def team_budget(answer: pb.GetBudgetResponse) -> usage.TeamBudget:
    """A team's budgets and limits."""
    return usage.TeamBudget(
        tenant=answer.tenant,
        budgets=[
            usage.BudgetState(
                per=state.per,
                budget_usd=_usd(state.budget_nano_usd),
                spent_usd=_usd(state.spent_nano_usd),
                reserved_usd=_usd(state.reserved_nano_usd),
                remaining_usd=_usd(state.remaining_nano_usd),
                resets_at=state.resets_at,
                current=state.current,
            )
            for state in answer.budgets
        ],
        limits=usage.TeamLimits(
            requests_per_minute=answer.requests_per_minute or None,
            tokens_per_minute=answer.tokens_per_minute or None,
            concurrent_requests=answer.concurrent_requests or None,
        ),
    )


def _usd(nano_usd: int) -> str:
    return f"{Decimal(nano_usd) / 1_000_000_000:.9f}".rstrip("0").rstrip(".")


def deployment(entry: pb.Deployment) -> admin.Deployment:
    """A deployment, with its load where it is known."""
    return admin.Deployment(
        name=entry.name,
        engine=entry.engine,
        model=entry.model,
        state=entry.state,
        detail=entry.detail,
        tasks=list(entry.tasks),
        context_tokens=entry.context_tokens,
        adapters=list(entry.adapters),
        accepts=list(entry.accepts),
        version=entry.version,
        load_error=entry.load_error or None,
        load=_load(entry.load) if entry.HasField("load") else None,
    )


def _load(entry: pb.DeploymentLoad) -> admin.DeploymentLoad:
    return admin.DeploymentLoad(
        waiting=entry.waiting,
        running=entry.running,
        slots=entry.slots,
        tokens_per_second=entry.tokens_per_second,
        first_token_ms=entry.first_token_ms,
        output_token_ms=entry.output_token_ms,
        wait_ms=entry.wait_ms,
        kv_cache_used=entry.kv_cache_used if entry.HasField("kv_cache_used") else None,
    )


def _json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _turn(message: chat.Message | Mapping[str, Any]) -> chat_pb2.Message:
    turn: Mapping[str, Any] = msgspec.to_builtins(message) if isinstance(message, chat.Message) else message
    content = turn.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    return chat_pb2.Message(
        role=turn.get("role", ""),
        parts=[_part(part) for part in parts],
        name=turn.get("name") or "",
        tool_calls=[
            chat_pb2.ToolCall(
                index=index,
                id=call.get("id") or "",
                name=call["function"].get("name") or "",
                arguments=call["function"].get("arguments") or "",
            )
            for index, call in enumerate(turn.get("tool_calls") or ())
        ],
        tool_call_id=turn.get("tool_call_id") or "",
    )


def _part(part: Mapping[str, Any]) -> chat_pb2.ContentPart:
    if part.get("type") == "text":
        return chat_pb2.ContentPart(text=part["text"])
    if part.get("type") == "image_url":
        image = part["image_url"]
        return chat_pb2.ContentPart(image=chat_pb2.ImagePart(url=image["url"], detail=image.get("detail", "")))
    raise BadRequest(f"a content part of type {part.get('type')!r} cannot be sent over gRPC", status=400)


def _tool_calls(calls: Sequence[chat_pb2.ToolCall]) -> list[chat.ToolCall] | None:
    return [
        chat.ToolCall(chat.FunctionCall(call.name or None, call.arguments), id=call.id or None, index=call.index)
        for call in calls
    ] or None


def _usage(usage: chat_pb2.Usage) -> chat.Usage:
    return chat.Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=chat.TokenDetails(usage.cached_input_tokens),
    )


def _outcome(outcome: pb.Outcome) -> chat.Outcome:
    return chat.Outcome(
        request_id=outcome.request_id or None,
        trace_id=outcome.trace_id or None,
        deployment=outcome.deployment or None,
        arm=outcome.arm or None,
        cache=outcome.cache or None,
        cost_usd=outcome.cost_usd or None,
        stages=[
            chat.StageOutcome(
                deployment=stage.deployment,
                verdict=stage.verdict,
                usage=chat.TokenCount(stage.usage.input_tokens, stage.usage.output_tokens),
                signal=stage.signal or None,
                confidence=stage.confidence if stage.HasField("confidence") else None,
                moment=stage.moment or None,
                cost_usd=stage.cost_usd or None,
                chosen_by=stage.chosen_by or None,
                duration_ms=stage.duration_ms,
            )
            for stage in outcome.stages
        ],
        citations=[
            chat.Citation(
                document_id=entry.document_id,
                span=Span(entry.start, entry.end),
                number=entry.number,
                collection=entry.collection,
                chunk_id=entry.chunk_id,
                title=entry.title or None,
                page=entry.page or None,
                quote=entry.quote,
                score=entry.score,
                sentences=[Span(one.start, one.end) for one in entry.sentences],
                support=entry.support,
            )
            for entry in outcome.citations
        ],
        grounding=chat.Grounding(
            outcome.grounding.score,
            [
                chat.SentenceSupport(one.start, one.end, one.score, one.supported, one.choice)
                for one in outcome.grounding.sentences
            ],
            outcome.grounding.withheld,
        )
        if outcome.HasField("grounding")
        else None,
        guardrails=[
            chat.GuardFinding(entry.direction, entry.check, entry.kind, entry.action, entry.count, entry.review_id)
            for entry in outcome.guardrails
        ],
        saved_usd=outcome.saved_usd or None,
    )
