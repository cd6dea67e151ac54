"""From the pipeline's answers to OpenAI's response object, whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from headrace_gateway.http_api.responses_schema import (
    AllowedFunctions,
    FunctionChoice,
    FunctionTool,
    ResponsesBody,
)
from headrace_gateway.pipeline import Answer
from headrace_kit.errors import Busy, public_message
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""By finish reason: why an answer is not whole."""


class ResponseObject:
    """What all forms of one response have in common: the request, as OpenAI shows it again.

    Args:
        request_id: of the request; ids of the response and of its items are made from it.
        body: the request.
        tools: its tools.
    """

    def __init__(self, request_id: str, body: ResponsesBody, tools: Sequence[FunctionTool]) -> None:
        self.request_id = request_id
        choice = body.tool_choice or "auto"
        self._shown: dict[str, Any] = {
            "id": f"resp_{request_id}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": False,
            "temperature": body.temperature,
            "text": {"format": body.text.format if body.text and body.text.format else {"type": "text"}},
            "tool_choice": choice if isinstance(choice, str | FunctionChoice | AllowedFunctions) else "auto",
            "tools": [_tool(tool) for tool in tools],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    def begun(self) -> dict[str, Any]:
        """The response before its first item."""
        return self._shown

    def ended(
        self, finish_reason: str, output: list[dict[str, Any]], usage: chat_pb2.Usage, headrace: Any
    ) -> dict[str, Any]:
        """The response whose answer ended with a finish reason: its status is `completed` or `incomplete`."""
        reason = _INCOMPLETE.get(finish_reason)
        return {
            **self._shown,
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": output,
            "usage": usage_object(usage),
            "headrace": headrace,
        }

    def failed(self, error: BaseException, output: list[dict[str, Any]], headrace: Any) -> dict[str, Any]:
        """The response whose answer broke off."""
        told = {"code": error_code(error), "message": public_message(error)}
        return {**self._shown, "status": "failed", "error": told, "output": output, "headrace": headrace}


def error_code(error: BaseException) -> str:
    """The code of a response's `error`: OpenAI has a closed list of them."""
    return "rate_limit_exceeded" if isinstance(error, Busy) else "server_error"


def ending(finish_reason: str) -> str:
    """The status of the items of an answer that ended so."""
    return "incomplete" if finish_reason in _INCOMPLETE else "completed"


def usage_object(usage: chat_pb2.Usage) -> dict[str, Any]:
    """OpenAI's usage of a response."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_input_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def reasoning_item(request_id: str, text: str, status: str) -> dict[str, Any]:
    """A model's reasoning."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": f"rs_{request_id}", "type": "reasoning", "summary": [], "content": content, "status": status}


def message_item(request_id: str, text: str | None, logprobs: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """The assistant's words; none yet where `text` is None."""
    content = [] if text is None else [text_part(text, logprobs)]
    return {"id": f"msg_{request_id}", "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    """A piece of the assistant's words."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(request_id: str, call: chat_pb2.ToolCall, arguments: str, status: str) -> dict[str, Any]:
    """A call of a function, which the caller runs."""
    return {
        "id": f"fc_{request_id}_{call.index}",
        "type": "function_call",
        "call_id": call.id or f"call_{request_id}_{call.index}",
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


def logprob_objects(chunk: GenerateChunk) -> list[dict[str, Any]]:
    """Log probabilities as responses show them."""
    return [
        {
            "token": entry.token,
            "logprob": entry.logprob,
            "bytes": list(entry.token.encode()),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.token.encode())} for top in entry.top
            ],
        }
        for entry in chunk.logprobs
    ]


async def whole_response(answer: Answer, shown: ResponseObject) -> dict[str, Any]:
    """The response, when all of it is there. Raises what the answer ends with."""
    choices, usage = await answer.whole()
    chunk = choices[0]
    status, request_id = ending(chunk.finish_reason), shown.request_id
    output = []
    if chunk.reasoning:
        output.append(reasoning_item(request_id, chunk.reasoning, status))
    if chunk.text or not (chunk.tool_calls or chunk.finish_reason == "content_filter"):
        output.append(message_item(request_id, chunk.text, logprob_objects(chunk), status))
    output += [call_item(request_id, call, call.arguments, status) for call in chunk.tool_calls]
    return shown.ended(chunk.finish_reason, output, usage, answer.ctx.outcome)


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }
