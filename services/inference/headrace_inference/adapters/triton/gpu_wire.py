"""Requests to and responses of Triton's vLLM backend and TensorRT-LLM's `llmapi` model.

Sources: triton-inference-server/vllm_backend `src/model.py`, `src/utils/{request,vllm_backend_utils}.py`; TensorRT-LLM
`triton_backend/all_models/llmapi/tensorrt_llm/{config.pbtxt,1/model.py,1/helpers.py}`. Neither ran here, for want of a
GPU: tests run stand-ins with their inputs and outputs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from tritonclient.grpc import service_pb2 as pb

from headrace_inference.adapters.triton.wire import pack_bytes
from headrace_inference.ports import Generation, TokenLogprob

_PASSED_ON = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
_FINISH = {"stop": "stop", "length": "length"}
_FORMATS = {"INT32": "<i", "UINT32": "<I", "INT64": "<q", "UINT64": "<Q", "FP32": "<f"}


@dataclass(frozen=True, slots=True)
class Piece:
    """One response. `text` is new (vLLM) or all so far (TensorRT-LLM); None where the engine does not tell.

    `finish` is the engine's reason, "" while it goes on.
    """

    text: str
    finish: str
    tokens: int | None = None
    input_tokens: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter as TensorRT-LLM's model wants it named: a number, and where its files are on Triton's machine."""

    id: int
    path: str


def vllm_request(
    model: str, request_id: str, prompt: str, max_tokens: int, generation: Generation, images: Sequence[str]
) -> pb.ModelInferRequest:
    """To the vLLM backend; `images` are base64."""
    sampling = generation.sampling
    parameters: dict[str, Any] = {"max_tokens": max_tokens}
    for option in _PASSED_ON:
        if (value := getattr(sampling, option)) is not None:
            parameters[option] = value
    if sampling.stop:
        parameters["stop"] = list(sampling.stop)
    wanted = sampling.top_logprobs if sampling.top_logprobs is not None else (0 if generation.want_stats else None)
    if wanted is not None:
        parameters["logprobs"] = wanted
    if constraint := _constraint(sampling.response_format):
        parameters["structured_outputs"] = json.dumps(constraint)  # the backend wants JSON in JSON
    if generation.adapter:
        parameters["lora_name"] = generation.adapter
    request = _request(model, request_id)
    _strings(request, "text_input", [prompt])
    if images:
        _strings(request, "image", images)
    _strings(request, "sampling_parameters", [json.dumps(parameters)])
    _flags(
        request, "stream", "exclude_input_in_output", "return_finish_reason", "return_num_input_tokens",
        "return_num_output_tokens",
    )  # fmt: skip
    if wanted is not None:
        _flags(request, "return_logprobs")
    return request


def tensorrtllm_request(
    model: str, request_id: str, prompt: str, max_tokens: int, generation: Generation, lora: Lora | None, measure: bool
) -> pb.ModelInferRequest:
    """To the llmapi model. Stop strings stay here: it hands them to its tokenizer as bytes, which that refuses.

    Args:
        measure: report draft tokens.
    """
    sampling = generation.sampling
    request = _request(model, request_id)
    _strings(request, "text_input", [prompt])
    _flags(request, "streaming", "sampling_param_exclude_input_from_output", "return_finish_reason")
    _number(request, "sampling_param_max_tokens", "INT32", max_tokens)
    for option, datatype in (
        ("temperature", "FP32"),
        ("top_p", "FP32"),
        ("top_k", "INT32"),
        ("frequency_penalty", "FP32"),
        ("presence_penalty", "FP32"),
        ("seed", "UINT64"),
    ):
        if (value := getattr(sampling, option)) is not None:
            _number(request, f"sampling_param_{option}", datatype, value)
    if measure:
        _flags(request, "sampling_param_return_perf_metrics")
    if lora is not None:
        _number(request, "lora_id", "UINT64", lora.id)
        _strings(request, "lora_name", [generation.adapter])
        _strings(request, "lora_path", [lora.path])
    return request


def tensorrtllm_cancel(model: str, request_id: str) -> pb.ModelInferRequest:
    """Ends the request of that id in the llmapi model, which takes it as another request of the same id."""
    request = _request(model, request_id)
    _strings(request, "text_input", [""])
    _flags(request, "stop")
    return request


def read(response: pb.ModelInferResponse, top: int) -> Piece | None:
    """A response's first choice, or None for the empty final one; `top` alternatives a token are wanted."""
    found = {tensor.name: _values(tensor.datatype, raw) for tensor, raw in zip(
        response.outputs, response.raw_output_contents, strict=True
    )}  # fmt: skip
    if not found.get("text_output"):
        return None
    reason = str(_first(found, "finish_reason") or "")
    return Piece(
        text=str(found["text_output"][0]),
        finish="" if reason == "None" else _FINISH.get(reason, reason),
        tokens=_count(found, "num_output_tokens"),
        input_tokens=_count(found, "num_input_tokens"),
        logprobs=_logprobs(str(_first(found, "logprobs") or "null"), top),
        draft_tokens=_count(found, "total_draft_tokens") or 0,
        accepted_draft_tokens=_count(found, "total_accepted_draft_tokens") or 0,
    )


def _constraint(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    kind = (wanted or {}).get("type")
    if wanted is None or kind == "text":
        return None
    if kind == "regex":
        return {"regex": wanted["regex"]}
    return {"json": wanted["json_schema"]["schema"]} if kind == "json_schema" else {"json_object": True}


def _logprobs(document: str, top: int) -> tuple[TokenLogprob, ...]:
    """vLLM's list, a token an object of candidates by id: the sampled one first, then the best ones."""
    made = []
    for candidates in msgspec.json.decode(document, type=list[dict[str, Any]] | None) or ():
        entries = list(candidates.values())
        best = sorted((entry for entry in entries if entry["rank"] <= top), key=lambda entry: entry["rank"])
        made.append(
            TokenLogprob(
                entries[0]["decoded_token"] or "",
                entries[0]["logprob"],
                tuple((entry["decoded_token"] or "", entry["logprob"]) for entry in best),
            )
        )
    return tuple(made)


def _request(model: str, request_id: str) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


def _strings(request: pb.ModelInferRequest, name: str, values: Sequence[str]) -> None:
    request.inputs.add(name=name, datatype="BYTES", shape=[len(values)])
    request.raw_input_contents.append(pack_bytes([value.encode() for value in values]))


def _flags(request: pb.ModelInferRequest, *names: str) -> None:
    for name in names:
        request.inputs.add(name=name, datatype="BOOL", shape=[1])
        request.raw_input_contents.append(b"\x01")


def _number(request: pb.ModelInferRequest, name: str, datatype: str, value: float) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=[1])
    request.raw_input_contents.append(struct.pack(_FORMATS[datatype], value))


def _values(datatype: str, raw: bytes) -> list[Any]:
    if datatype == "BYTES":
        values: list[Any] = []
        at = 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 4], "little")
            values.append(raw[at + 4 : at + 4 + size].decode("utf-8", "replace"))
            at += 4 + size
        return values
    form = _FORMATS.get(datatype)
    return [] if form is None else [value for (value,) in struct.iter_unpack(form, raw)]


def _first(found: Mapping[str, list[Any]], name: str) -> Any:
    return next(iter(found.get(name, ())), None)


def _count(found: Mapping[str, list[Any]], name: str) -> int | None:
    """A number, which TensorRT-LLM's model writes as text."""
    value = _first(found, name)
    return None if value is None else int(float(value))
