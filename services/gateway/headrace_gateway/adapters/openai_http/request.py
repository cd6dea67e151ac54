"""From the engine port's requests to the bodies of OpenAI's API."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from headrace_kit.config.deployments import OpenAiDeployment
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling, Tool
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_encode = msgspec.json.Encoder().encode
_PASSED_ON = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")


def generate_body(request: GenerateRequest, config: OpenAiDeployment, *, stream: bool) -> bytes:
    """The body of a chat, or of a completion where there are no messages.

    Raises:
        BadInput: the request asks for what endpoints outside, or this one, do not have; `param` names it.
    """
    sampling = request.sampling
    chat = bool(request.messages)
    limit = sampling.max_tokens if sampling.HasField("max_tokens") else config.max_output_tokens
    body: dict[str, Any] = {"model": config.model, config.limit_field if chat else "max_tokens": limit}
    if chat:
        body["messages"] = [_message(message) for message in request.messages]
    else:
        body["prompt"] = request.prompt
    for name in _PASSED_ON:
        if sampling.HasField(name):
            body[name] = getattr(sampling, name)
    if stream:
        body["stream"] = True
        if config.stream_usage:
            body["stream_options"] = _USAGE
    if sampling.HasField("top_k"):
        raise _unsupported("top_k", "the model's endpoint does not have it")
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.n > 1:
        body["n"] = sampling.n
    if sampling.HasField("response_format"):
        _response_format(sampling, body)
    _logprobs(request, config, body)
    if sampling.tools:
        _tools(sampling, body)
    return _encode(body)


def embed_body(texts: list[str], dimensions: int, config: OpenAiDeployment) -> bytes:
    """The body of a request for vectors. `dimensions` 0: the model's own."""
    body: dict[str, Any] = {"model": config.model, "input": texts, "encoding_format": "float"}
    if dimensions:
        body["dimensions"] = dimensions
    return _encode(body)


_USAGE = {"include_usage": True}


def _message(message: Message) -> dict[str, Any]:
    parts = message.parts
    content: str | list[dict[str, Any]] | None
    if len(parts) == 1 and parts[0].WhichOneof("part") == "text":
        content = parts[0].text
    else:
        content = [_part(part) for part in parts] or None
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
    elif content is None:
        found["content"] = ""
    return found


def _part(part: ContentPart) -> dict[str, Any]:
    kind = part.WhichOneof("part")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": part.image.url, "detail": part.image.detail or "auto"}}
    if kind == "audio":
        data = base64.b64encode(part.audio.data).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": part.audio.format or "wav"}}
    raise BadInput("a part is text, an image or audio", param="messages")


def _response_format(sampling: Sampling, body: dict[str, Any]) -> None:
    wanted = sampling.response_format
    if wanted.type == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif wanted.type == "json_schema":
        schema = msgspec.Raw(wanted.schema_json.encode())
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": schema}}
    elif wanted.type == "regex":
        raise _unsupported("headrace.regex", "the model's endpoint has no answers by a regex; send a JSON schema")


def _logprobs(request: GenerateRequest, config: OpenAiDeployment, body: dict[str, Any]) -> None:
    wanted = request.sampling.top_logprobs if request.sampling.HasField("top_logprobs") else None
    if not config.logprobs:
        if wanted is not None:
            raise _unsupported("logprobs", "the model does not report log probabilities")
        return
    if wanted is None and request.want_stats:
        wanted = 0
    if request.stats_top:
        wanted = max(wanted or 0, request.stats_top)
    if wanted is None:
        return
    if request.messages:
        body["logprobs"] = True
        if wanted:
            body["top_logprobs"] = wanted
    else:
        body["logprobs"] = wanted


def _tools(sampling: Sampling, body: dict[str, Any]) -> None:
    body["tools"] = [_tool(tool) for tool in sampling.tools]
    if choice := sampling.tool_choice:
        named = choice not in ("auto", "none", "required")
        body["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    if sampling.HasField("parallel_tool_calls"):
        body["parallel_tool_calls"] = sampling.parallel_tool_calls


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json:
        function["parameters"] = msgspec.Raw(tool.parameters_json.encode())
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _unsupported(param: str, message: str) -> BadInput:
    return BadInput(f"{param}: {message}", code="unsupported_parameter", param=param)
