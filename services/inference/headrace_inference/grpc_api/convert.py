"""Between protos and the domain's types."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from headrace_inference.ports import Chunk, Generation, Sampling, TokenLogprob, ToolCall, Usage
from headrace_kit.errors import BadInput
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1 import messages_pb2 as pb

_OPTIONAL = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "top_logprobs",
    "parallel_tool_calls",
)


def generation_of(request: pb.GenerateRequest) -> Generation:
    """The domain's request.

    Raises:
        BadInput: a part is not JSON, or asks for what no engine here can do.
    """
    if request.adapter:
        raise BadInput("this deployment has no LoRA adapters", code="unsupported", param="adapter")
    return Generation(
        messages=tuple(_message(message, number) for number, message in enumerate(request.messages)),
        prompt=request.prompt,
        sampling=_sampling(request.sampling),
        want_stats=request.want_stats,
        priority=request.priority,
    )


def _message(message: chat_pb2.Message, number: int) -> dict[str, Any]:
    texts = []
    for position, part in enumerate(message.parts):
        if part.WhichOneof("part") != "text":
            raise BadInput(
                "this deployment takes text only", code="unsupported", param=f"messages[{number}].content[{position}]"
            )
        texts.append(part.text)
    found: dict[str, Any] = {"role": message.role, "content": "".join(texts)}
    if message.name:
        found["name"] = message.name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return found


def _sampling(sampling: chat_pb2.Sampling) -> Sampling:
    given = {name: getattr(sampling, name) for name in _OPTIONAL if sampling.HasField(name)}
    return Sampling(
        **given,
        stop=tuple(sampling.stop),
        n=sampling.n or 1,
        response_format=_response_format(sampling.response_format),
        tools=tuple(_tool(tool, number) for number, tool in enumerate(sampling.tools)),
        tool_choice=sampling.tool_choice,
    )


def _response_format(wanted: chat_pb2.ResponseFormat) -> dict[str, Any] | None:
    if wanted.type in ("", "text"):
        return None
    if wanted.type == "json_object":
        return {"type": "json_object"}
    if wanted.type == "json_schema":
        schema = _json(wanted.schema_json, "response_format.json_schema.schema")
        return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": schema}}
    raise BadInput("type must be text, json_object or json_schema", param="response_format.type")


def _tool(tool: chat_pb2.Tool, number: int) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters_json:
        function["parameters"] = _json(tool.parameters_json, f"tools[{number}].function.parameters")
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _json(text: str, param: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadInput(f"not JSON: {error}", param=param) from error
    if not isinstance(found, dict):
        raise BadInput("must be a JSON object", param=param)
    return found


def chunk_proto(chunk: Chunk) -> pb.GenerateChunk:
    """A chunk on the wire."""
    found = pb.GenerateChunk(
        index=chunk.index, text=chunk.text, finish_reason=chunk.finish_reason, reasoning=chunk.reasoning
    )
    if chunk.tool_calls:
        found.tool_calls.extend(tool_call_proto(call) for call in chunk.tool_calls)
    if chunk.logprobs:
        found.logprobs.extend(logprob_proto(entry) for entry in chunk.logprobs)
    if chunk.tokens:
        found.stats.tokens = chunk.tokens
        found.stats.sum_logprob = chunk.sum_logprob
        found.stats.min_logprob = chunk.min_logprob or 0.0
    if chunk.usage is not None:
        found.usage.CopyFrom(usage_proto(chunk.usage))
    return found


def tool_call_proto(call: ToolCall) -> chat_pb2.ToolCall:
    """A tool call, or its next piece."""
    return chat_pb2.ToolCall(index=call.index, id=call.id, name=call.name, arguments=call.arguments)


def logprob_proto(entry: TokenLogprob) -> chat_pb2.TokenLogprob:
    """A token with its alternatives."""
    return chat_pb2.TokenLogprob(
        token=entry.token,
        logprob=entry.logprob,
        top=[chat_pb2.TopLogprob(token=token, logprob=logprob) for token, logprob in entry.top],
    )


def usage_proto(usage: Usage) -> chat_pb2.Usage:
    """Token counts."""
    return chat_pb2.Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        draft_tokens=usage.draft_tokens,
        accepted_draft_tokens=usage.accepted_draft_tokens,
    )


def response_of(chunks: Iterable[Chunk]) -> pb.GenerateResponse:
    """A whole answer from all of its chunks."""
    choices: dict[int, _Choice] = {}
    response = pb.GenerateResponse()
    for chunk in chunks:
        choices.setdefault(chunk.index, _Choice(chunk.index)).add(chunk)
        if chunk.usage is not None:
            response.usage.CopyFrom(usage_proto(chunk.usage))
    response.choices.extend(choices[index].proto() for index in sorted(choices))
    return response


class _Choice:
    """One answer, put together from its pieces."""

    def __init__(self, index: int) -> None:
        self._found = pb.Choice(index=index)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, chat_pb2.ToolCall] = {}

    def add(self, chunk: Chunk) -> None:
        found = self._found
        self._text.append(chunk.text)
        self._reasoning.append(chunk.reasoning)
        found.logprobs.extend(logprob_proto(entry) for entry in chunk.logprobs)
        found.finish_reason = chunk.finish_reason or found.finish_reason
        for piece in chunk.tool_calls:
            call = self._calls.setdefault(piece.index, chat_pb2.ToolCall(index=piece.index))
            call.id = piece.id or call.id
            call.name = piece.name or call.name
            call.arguments += piece.arguments
        if chunk.tokens:
            known = found.stats.tokens > 0
            found.stats.tokens += chunk.tokens
            found.stats.sum_logprob += chunk.sum_logprob
            lowest = chunk.min_logprob or 0.0
            found.stats.min_logprob = min(found.stats.min_logprob, lowest) if known else lowest

    def proto(self) -> pb.Choice:
        self._found.text = "".join(self._text)
        self._found.reasoning = "".join(self._reasoning)
        self._found.tool_calls.extend(self._calls[index] for index in sorted(self._calls))
        return self._found
