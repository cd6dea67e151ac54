"""Our engine wire format (see `triton_models/shared/answer_stream.py`) and Triton's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from tritonclient.grpc import service_pb2 as pb

from headrace_inference.ports import Chunk, EngineStats, Generation, TokenLogprob, ToolCall, Usage
from headrace_kit.errors import BadInput, Busy, HeadraceError, NotReady, Upstream

_ERRORS: dict[str, type[HeadraceError]] = {
    "context_length_exceeded": BadInput,
    "invalid_json_schema": BadInput,
    "invalid_regex": BadInput,
    "invalid_request": BadInput,
    "unsupported": BadInput,
    "engine_busy": Busy,
    "engine_not_ready": NotReady,
    "engine_failed": Upstream,
}
ALIVE = b"{}"
"""What a model sends when it has nothing to say for a while."""

_ENCODER = msgspec.json.Encoder()


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    top: list[_Alternative] = []


class _ToolCall(msgspec.Struct):
    index: int
    id: str
    name: str
    arguments: str


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0


class _Prompt(msgspec.Struct):
    input_tokens: int
    cached_input_tokens: int = 0


class _Error(msgspec.Struct):
    code: str
    message: str
    param: str | None = None


class _Chunk(msgspec.Struct):
    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: list[_ToolCall] = []
    tokens: int = 0
    sum_logprob: float = 0.0
    min_logprob: float | None = None
    logprobs: list[_Logprob] = []
    finish_reason: str = ""
    prompt: _Prompt | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_DECODER = msgspec.json.Decoder(_Chunk)


def encode_generation(generation: Generation) -> bytes:
    """The request document."""
    sampling = generation.sampling
    document: dict[str, Any] = {
        name: value
        for name, value in (
            ("max_tokens", sampling.max_tokens),
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("top_k", sampling.top_k),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
            ("seed", sampling.seed),
            ("top_logprobs", sampling.top_logprobs),
            ("response_format", sampling.response_format),
            ("parallel_tool_calls", sampling.parallel_tool_calls),
        )
        if value is not None
    }
    if generation.messages:
        document["messages"] = generation.messages
    else:
        document["prompt"] = generation.prompt
    if sampling.stop:
        document["stop"] = sampling.stop
    if sampling.n > 1:
        document["n"] = sampling.n
    if sampling.tools:
        document["tools"] = sampling.tools
        document["tool_choice"] = sampling.tool_choice or "auto"
    if generation.tenant:
        document["tenant"] = generation.tenant
    if generation.adapter:
        document["adapter"] = generation.adapter
    if generation.continue_from:
        document["continue_from"] = generation.continue_from
    if generation.max_draft_tokens is not None:
        document["max_draft_tokens"] = generation.max_draft_tokens
    if generation.want_stats:
        document["want_stats"] = True
    return _ENCODER.encode(document)


def decode_chunk(data: bytes) -> Chunk:
    """One chunk document.

    Raises:
        HeadraceError: it is an error, or not a chunk (`Upstream`).
    """
    try:
        chunk = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise Upstream("the engine sent something that is not a chunk", code="engine_failed") from error
    if chunk.error is not None:
        failed = chunk.error
        raise _ERRORS.get(failed.code, Upstream)(failed.message, code=failed.code, param=failed.param)
    usage = chunk.usage
    return Chunk(
        index=chunk.index,
        text=chunk.text,
        reasoning=chunk.reasoning,
        tool_calls=tuple(ToolCall(call.index, call.id, call.name, call.arguments) for call in chunk.tool_calls),
        logprobs=tuple(
            TokenLogprob(entry.token, entry.logprob, tuple((top.token, top.logprob) for top in entry.top))
            for entry in chunk.logprobs
        ),
        finish_reason=chunk.finish_reason,
        tokens=chunk.tokens,
        sum_logprob=chunk.sum_logprob,
        min_logprob=chunk.min_logprob,
        prompt=None if chunk.prompt is None else Usage(chunk.prompt.input_tokens, chunk.prompt.cached_input_tokens),
        usage=None
        if usage is None
        else Usage(
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.draft_tokens,
            usage.accepted_draft_tokens,
        ),
    )


STATS_REQUEST = b'{"stats":true}'
"""Asks one of our streaming models what it measures of itself."""


class _Stats(msgspec.Struct):
    kv_cache_used: float | None = None
    running: int | None = None
    waiting: int | None = None


class _StatsAnswer(msgspec.Struct):
    stats: _Stats


def decode_stats(data: bytes) -> EngineStats:
    """The answer to `STATS_REQUEST`.

    Raises:
        Upstream: it is something else.
    """
    try:
        stats = msgspec.json.decode(data, type=_StatsAnswer).stats
    except msgspec.MsgspecError as error:
        raise Upstream("the engine sent something that is not statistics", code="engine_failed") from error
    return EngineStats(stats.kv_cache_used, stats.running, stats.waiting)


def cancel_document(request_id: str) -> bytes:
    """Ends the request of that id on the same stream."""
    return b'{"cancel":' + _ENCODER.encode(request_id) + b"}"


def stream_request(model: str, document: bytes, request_id: str) -> pb.ModelInferRequest:
    """A request to a decoupled model, whose end is marked by a last, empty response."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name="request", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(pack_bytes([document]))
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


def rows_request(model: str, columns: Sequence[tuple[str, str, bytes]], rows: int) -> pb.ModelInferRequest:
    """A request of `rows` rows; columns are name, Triton datatype and raw contents."""
    request = pb.ModelInferRequest(model_name=model)
    for name, datatype, contents in columns:
        request.inputs.add(name=name, datatype=datatype, shape=[rows, 1])
        request.raw_input_contents.append(contents)
    return request


def output(response: pb.ModelInferResponse, name: str) -> bytes:
    """Raw contents of an output tensor."""
    for tensor, contents in zip(response.outputs, response.raw_output_contents, strict=True):
        if tensor.name == name:
            return bytes(contents)
    raise Upstream(f"the engine's answer has no tensor {name!r}", code="engine_failed")


def pack_bytes(values: Sequence[bytes]) -> bytes:
    """Triton's encoding of a BYTES tensor."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def unpack_one(contents: bytes) -> bytes:
    """The one element of a BYTES tensor."""
    return contents[4:]
