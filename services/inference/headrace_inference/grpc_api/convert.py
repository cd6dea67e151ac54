"""Between protos and the domain's types."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from headrace_inference.grpc_api.ranks import Ranks
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


def generation_of(request: pb.GenerateRequest, tenant: str) -> Generation:
    """The domain's request for a tenant.

    Raises:
        BadInput: a part is not JSON, or is empty.
    """
    return Generation(
        messages=tuple(_message(message, number) for number, message in enumerate(request.messages)),
        prompt=request.prompt,
        sampling=_sampling(request.sampling),
        want_stats=request.want_stats,
        priority=request.priority,
        tenant=tenant,
        adapter=request.adapter,
        continue_from=request.continue_from,
    )


def _message(message: chat_pb2.Message, number: int) -> dict[str, Any]:
    parts = message.parts
    content: str | list[dict[str, Any]]
    if len(parts) == 1 and parts[0].WhichOneof("part") == "text":
        content = parts[0].text
    elif all(part.WhichOneof("part") == "text" for part in parts):
        content = "".join(part.text for part in parts)
    else:
        content = [_part(part, f"messages[{number}].content[{position}]") for position, part in enumerate(parts)]
    found: dict[str, Any] = {"role": message.role, "content": content}
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


def _part(part: chat_pb2.ContentPart, param: str) -> dict[str, Any]:
    """OpenAI's form of a part."""
    kind = part.WhichOneof("part")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "image":
        if not part.image.url:
            raise BadInput("an image has a url: an address, or a data URL", param=f"{param}.image_url.url")
        return {"type": "image_url", "image_url": {"url": part.image.url, "detail": part.image.detail or "auto"}}
    if kind == "audio":
        if not part.audio.data:
            raise BadInput("audio has data", param=f"{param}.input_audio.data")
        data = base64.b64encode(part.audio.data).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": part.audio.format or "wav"}}
    raise BadInput("a part is text, an image or audio", param=param)


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
    if wanted.type == "regex":
        if not wanted.regex:
            raise BadInput("a regex to match is required", param="response_format.regex")
        return {"type": "regex", "regex": wanted.regex}
    raise BadInput("type must be text, json_object, json_schema or regex", param="response_format.type")


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


_AS_IT_IS = Ranks(None, False)


def chunk_proto(chunk: Chunk, ranks: Ranks = _AS_IT_IS) -> pb.GenerateChunk:
    """A chunk on the wire. Most have a text and counts only, so that nothing else is looked at twice."""
    found = pb.GenerateChunk(text=chunk.text)
    if chunk.tokens:
        stats = found.stats
        stats.tokens = chunk.tokens
        stats.sum_logprob = chunk.sum_logprob
        if chunk.min_logprob is not None:
            stats.min_logprob = chunk.min_logprob
    if ranks.summed and chunk.logprobs:
        ranks.add(chunk, found.stats)
        chunk = ranks.seen(chunk)
    if chunk.index:
        found.index = chunk.index
    if chunk.finish_reason:
        found.finish_reason = chunk.finish_reason
    if chunk.reasoning:
        found.reasoning = chunk.reasoning
    if chunk.tool_calls:
        found.tool_calls.extend(tool_call_proto(call) for call in chunk.tool_calls)
    if chunk.logprobs:
        found.logprobs.extend(logprob_proto(entry) for entry in chunk.logprobs)
    if chunk.prompt is not None:
        found.prompt.CopyFrom(usage_proto(chunk.prompt))
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
        cache_write_input_tokens=usage.cache_write_input_tokens,
    )


def response_of(chunks: Iterable[Chunk], ranks: Ranks = _AS_IT_IS) -> pb.GenerateResponse:
    """A whole answer from all of its chunks."""
    choices: dict[int, _Choice] = {}
    response = pb.GenerateResponse()
    for chunk in chunks:
        choices.setdefault(chunk.index, _Choice(chunk.index)).add(chunk, ranks)
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

    def add(self, chunk: Chunk, ranks: Ranks) -> None:
        found = self._found
        if ranks.summed and chunk.logprobs:
            ranks.add(chunk, found.stats)
            chunk = ranks.seen(chunk)
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
            found.stats.tokens += chunk.tokens
            found.stats.sum_logprob += chunk.sum_logprob
            if chunk.min_logprob is not None:
                # Unset it reads as 0, which is the most that a log probability can be.
                found.stats.min_logprob = min(found.stats.min_logprob, chunk.min_logprob)

    def proto(self) -> pb.Choice:
        self._found.text = "".join(self._text)
        self._found.reasoning = "".join(self._reasoning)
        self._found.tool_calls.extend(self._calls[index] for index in sorted(self._calls))
        return self._found
