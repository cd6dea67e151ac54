"""Names of other instrumentations as the names that headrace uses, and content apart from attributes.

Known: the OpenTelemetry GenAI conventions of today and of before, OpenInference (Phoenix, LlamaIndex, LangChain) and
Traceloop (OpenLLMetry, litellm). Names that nobody knows stay as they are.
Sources: github.com/Arize-ai/openinference spec/semantic_conventions.md; github.com/traceloop/openllmetry
packages/opentelemetry-semantic-conventions-ai.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, PassageSeen, Turn, plain_json
from headrace_tracing.domain.messages import flattened, turns_of
from headrace_tracing.domain.spans import REPORTED, Span

_RENAMED = {
    "gen_ai.system": genai.PROVIDER_NAME,
    "gen_ai.usage.prompt_tokens": genai.USAGE_INPUT_TOKENS,
    "gen_ai.usage.completion_tokens": genai.USAGE_OUTPUT_TOKENS,
    "gen_ai.usage.cache_read_input_tokens": genai.USAGE_CACHE_READ_INPUT_TOKENS,
    "gen_ai.usage.cache_creation_input_tokens": genai.USAGE_CACHE_CREATION_INPUT_TOKENS,
    "gen_ai.usage.reasoning_tokens": genai.USAGE_REASONING_OUTPUT_TOKENS,
    "gen_ai.request.is_streaming": genai.REQUEST_STREAM,
    "llm.is_streaming": genai.REQUEST_STREAM,
    "traceloop.association.properties.session_id": genai.CONVERSATION_ID,
    "traceloop.association.properties.thread_id": genai.CONVERSATION_ID,
    "traceloop.association.properties.user_id": genai.USER,
    "llm.user": genai.USER,
    "session.id": genai.CONVERSATION_ID,
    "user.id": genai.USER,
    "enduser.id": genai.USER,
    "llm.provider": genai.PROVIDER_NAME,
    "llm.system": genai.PROVIDER_NAME,
    "llm.model_name": genai.REQUEST_MODEL,
    "llm.request.model": genai.REQUEST_MODEL,
    "llm.response.model": genai.RESPONSE_MODEL,
    "embedding.model_name": genai.REQUEST_MODEL,
    "reranker.model_name": genai.REQUEST_MODEL,
    "llm.token_count.prompt": genai.USAGE_INPUT_TOKENS,
    "llm.token_count.completion": genai.USAGE_OUTPUT_TOKENS,
    "llm.token_count.prompt_details.cache_read": genai.USAGE_CACHE_READ_INPUT_TOKENS,
    "llm.token_count.prompt_details.cache_write": genai.USAGE_CACHE_CREATION_INPUT_TOKENS,
    "llm.token_count.completion_details.reasoning": genai.USAGE_REASONING_OUTPUT_TOKENS,
    "llm.finish_reason": genai.RESPONSE_FINISH_REASONS,
}
"""Other names of what the conventions have a name for. A span that has both keeps the conventions' own."""

_OPERATIONS = {
    "LLM": genai.OPERATION_CHAT,
    "EMBEDDING": genai.OPERATION_EMBEDDINGS,
    "RETRIEVER": genai.OPERATION_RETRIEVAL,
    "RERANKER": genai.OPERATION_RERANK,
    "TOOL": "execute_tool",
    "AGENT": "invoke_agent",
    "CHAIN": "chain",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluation",
    "chat": genai.OPERATION_CHAT,
    "completion": genai.OPERATION_TEXT_COMPLETION,
    "embedding": genai.OPERATION_EMBEDDINGS,
    "rerank": genai.OPERATION_RERANK,
    "workflow": "chain",
    "task": "chain",
    "agent": "invoke_agent",
    "tool": "execute_tool",
}
_KINDS = ("openinference.span.kind", "llm.request.type", "traceloop.span.kind")
_MODEL_CALLS = frozenset(
    {genai.OPERATION_CHAT, genai.OPERATION_TEXT_COMPLETION, genai.OPERATION_EMBEDDINGS, "generate_content"}
)
_COSTS = ("llm.cost.total", "gen_ai.usage.cost", "gen_ai.cost.total_cost")
_CONTENT = (
    genai.INPUT_MESSAGES,
    genai.OUTPUT_MESSAGES,
    genai.SYSTEM_INSTRUCTIONS,
    genai.PASSAGES,
    genai.OPTIONS,
    genai.TOOL_DEFINITIONS,
    "gen_ai.prompt",
    "gen_ai.completion",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompts",
    "llm.invocation_parameters",
    "input.value",
    "output.value",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "retrieval.documents",
    "reranker.output_documents",
    "reranker.input_documents",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)
"""Attributes that hold content, alone or as the beginning of `<name>.<number>...`."""
_IS_CONTENT = re.compile(f"(?:{'|'.join(map(re.escape, _CONTENT))})(?:$|\\.)").match
_NO_CONTENT = Content()
_EVENTS = {
    "gen_ai.user.message": "user",
    "gen_ai.system.message": "system",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "",
}


def normalised(span: Span, *, ours: bool) -> Span:
    """The span with the names that headrace uses, and its content apart.

    `ours` says that one of headrace's own services sent it: only their counts are bills. Content that is apart already
    stays as it is.
    """
    attributes, content = _parted(span.attributes)
    if not ours:
        _renamed(attributes)
        for name in (genai.BILLED, REPORTED, genai.COST_NANO_USD):
            attributes.pop(name, None)  # said by the gateway alone
        _reported(attributes)
    found = _content(content) if span.content is None else span.content
    events = span.events
    if any(event.name in _EVENTS for event in events):
        found = _with_events(found, span)
        events = tuple(event for event in events if event.name not in _EVENTS)
    return replace(span, attributes=attributes, events=events, content=found if found else None)


def _parted(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    attributes: dict[str, Any] = {}
    content: dict[str, Any] = {}
    for name, value in given.items():
        if _IS_CONTENT(name):
            content[name] = value
        else:
            attributes[name] = value
    return attributes, content


def _renamed(attributes: dict[str, Any]) -> None:
    for name in [name for name in attributes if name in _RENAMED]:
        value = attributes.pop(name)
        attributes.setdefault(_RENAMED[name], value)
    if genai.OPERATION_NAME not in attributes:
        for name in _KINDS:
            kind = attributes.get(name)
            if isinstance(kind, str) and kind in _OPERATIONS:
                attributes[genai.OPERATION_NAME] = _OPERATIONS[kind]
                break
        else:
            if genai.USAGE_OUTPUT_TOKENS in attributes:
                attributes[genai.OPERATION_NAME] = genai.OPERATION_CHAT
    if genai.REQUEST_MODEL not in attributes and genai.RESPONSE_MODEL in attributes:
        attributes[genai.REQUEST_MODEL] = attributes[genai.RESPONSE_MODEL]
    for name in (genai.USAGE_INPUT_TOKENS, genai.USAGE_OUTPUT_TOKENS):
        value = attributes.get(name)
        if (isinstance(value, float) and value.is_integer()) or (
            isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12
        ):
            attributes[name] = int(value)


def _reported(attributes: dict[str, Any]) -> None:
    """Mark a model's call, and its cost where the sender told one."""
    if attributes.get(genai.OPERATION_NAME) not in _MODEL_CALLS:
        return
    attributes[REPORTED] = True
    for name in _COSTS:
        cost = attributes.get(name)
        if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < 10**6:
            attributes[genai.COST_NANO_USD] = round(cost * 10**9)
            return


def _content(given: Mapping[str, Any]) -> Content:
    if not given:
        return _NO_CONTENT
    return Content(
        input=_first(
            lambda: (
                *turns_of(given.get(genai.SYSTEM_INSTRUCTIONS), "system"),
                *turns_of(given.get(genai.INPUT_MESSAGES), "user"),
            ),
            lambda: flattened(given, "llm.input_messages", "user"),
            lambda: flattened(given, "gen_ai.prompt", "user"),
            lambda: turns_of(given.get("gen_ai.prompt"), "user"),
            lambda: turns_of(given.get("gen_ai.tool.call.arguments"), "tool"),
            lambda: turns_of(given.get("traceloop.entity.input"), "user"),
            lambda: turns_of(given.get("input.value"), "user"),
        ),
        output=_first(
            lambda: turns_of(given.get(genai.OUTPUT_MESSAGES), "assistant"),
            lambda: flattened(given, "llm.output_messages", "assistant"),
            lambda: flattened(given, "gen_ai.completion", "assistant"),
            lambda: turns_of(given.get("gen_ai.completion"), "assistant"),
            lambda: turns_of(given.get("gen_ai.tool.call.result"), "tool"),
            lambda: turns_of(given.get("traceloop.entity.output"), "assistant"),
            lambda: turns_of(given.get("output.value"), "assistant"),
        ),
        passages=_passages(given.get(genai.PASSAGES)) or _documents(given),
        options=next(
            (
                value if isinstance(value, str) else plain_json(value)
                for value in (given.get(genai.OPTIONS), given.get("llm.invocation_parameters"))
                if value
            ),
            "",
        ),
    )


def _first(*candidates: Callable[[], tuple[Turn, ...]]) -> tuple[Turn, ...]:
    return next((turns for turns in (candidate() for candidate in candidates) if turns), ())


def _passages(value: Any) -> tuple[PassageSeen, ...]:
    if not isinstance(value, str):
        return ()
    try:
        return msgspec.json.decode(value, type=tuple[PassageSeen, ...])
    except msgspec.MsgspecError:
        return ()


def _documents(given: Mapping[str, Any]) -> tuple[PassageSeen, ...]:
    """OpenInference's `retrieval.documents.<n>.document.{id,content,score,metadata}`."""
    found: dict[int, dict[str, Any]] = {}
    for prefix in ("retrieval.documents.", "reranker.output_documents."):
        for name, value in given.items():
            if name.startswith(prefix):
                number, _, field = name[len(prefix) :].partition(".document.")
                if number.isascii() and number.isdecimal() and len(number) < 5:
                    found.setdefault(int(number), {})[field] = value
        if found:
            break
    return tuple(
        PassageSeen(
            number=position + 1,
            document_id=str(document.get("id", "")),
            text=str(document.get("content", "")),
            score=score if isinstance(score := document.get("score"), float) else None,
        )
        for position, document in sorted(found.items())
    )


def _with_events(content: Content, span: Span) -> Content:
    """Content of the conventions' events of before: one event a message."""
    entered: list[Turn] = []
    made: list[Turn] = []
    for event in span.events:
        role = _EVENTS.get(event.name)
        if role is None:
            continue
        body = event.attributes
        text = body.get("content", body.get("message", ""))
        if role:
            entered.append(Turn(role, text if isinstance(text, str) else "", plain_json(body.get("tool_calls"))))
        else:
            made.extend(turns_of(text, "assistant"))
    return Content(content.input or tuple(entered), content.output or tuple(made), content.passages, content.options)
