"""Engines' own schemas, kept here so that a rendering can be checked where the engine cannot be installed.

`flags/*.txt` hold every flag that a server takes, read out of its code: vLLM 0.32.0, SGLang 0.5.23, TGI 3 (see the
first lines). `LlmArgs` is the part of TensorRT-LLM's `TorchLlmArgs` that is rendered, as strict as that is.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

Dtype = Literal["auto", "float16", "bfloat16", "float32"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class KvCacheConfig(_Strict):
    """`KvCacheConfig`."""

    enable_block_reuse: bool
    dtype: Literal["auto", "fp8", "nvfp4"]
    free_gpu_memory_fraction: Fraction | None = None


class LoraConfig(_Strict):
    """`LoraConfig`."""

    lora_target_modules: list[str] = Field(min_length=1)
    max_lora_rank: PositiveInt
    max_loras: PositiveInt
    max_cpu_loras: PositiveInt


class Decoding(_Strict):
    """What every kind of speculation has."""

    max_draft_len: PositiveInt
    max_concurrency: PositiveInt | None = None


class NGram(Decoding):
    """`NGramDecodingConfig`; the pool must not be public."""

    decoding_type: Literal["NGram"]
    max_matching_ngram_size: PositiveInt
    is_public_pool: Literal[False]


class DraftTarget(Decoding):
    """`DraftTargetDecodingConfig`."""

    decoding_type: Literal["Draft_Target"]
    speculative_model: str


class Eagle3(Decoding):
    """`Eagle3DecodingConfig`."""

    decoding_type: Literal["Eagle3"]
    speculative_model: str


class Mtp(Decoding):
    """`MTPDecodingConfig`."""

    decoding_type: Literal["MTP"]


Speculative = Annotated[NGram | DraftTarget | Eagle3 | Mtp, Field(discriminator="decoding_type")]


class TritonConfig(_Strict):
    """What NVIDIA's model reads for Triton; streaming needs it decoupled."""

    max_batch_size: Literal[0]
    decoupled: Literal[True]
    cancellation_check_period_ms: PositiveInt


class LlmArgs(_Strict):
    """`TorchLlmArgs`, and `triton_config` beside it."""

    model: str = Field(min_length=1)
    backend: Literal["pytorch"]
    dtype: Dtype
    tensor_parallel_size: PositiveInt
    pipeline_parallel_size: PositiveInt
    max_batch_size: PositiveInt
    max_seq_len: PositiveInt
    max_num_tokens: PositiveInt
    enable_chunked_prefill: bool
    kv_cache_config: KvCacheConfig
    enable_lora: bool = False
    lora_config: LoraConfig | None = None
    speculative_config: Annotated[NGram | DraftTarget | Eagle3 | Mtp, Field(discriminator="decoding_type")] | None = (
        None
    )
    return_perf_metrics: bool = False
    disable_overlap_scheduler: bool = False
    triton_config: TritonConfig

    @model_validator(mode="after")
    def _prompt_fits(self) -> LlmArgs:
        if not self.enable_chunked_prefill and self.max_num_tokens < self.max_seq_len:
            raise ValueError(
                "max_num_tokens is below max_seq_len without chunked prefill: long prompts would be refused"
            )
        return self


def llm_args_problems(document: Any) -> list[str]:
    """What TensorRT-LLM would refuse in a `model.yaml`."""
    try:
        LlmArgs.model_validate(document)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc'])) or '(whole)'}: {each['msg']}" for each in error.errors()]
    return []


@cache
def flags(server: str) -> frozenset[str]:
    """Every flag of `vllm`, `sglang` or `tgi`."""
    text = (resources.files("headrace_inference") / "rendering" / "flags" / f"{server}.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line.startswith("--"))


def unknown_flags(server: str, argv: tuple[str, ...]) -> list[str]:
    """Flags of a command line that the server does not take."""
    known = flags(server)
    return [
        word
        for word in argv
        if word.startswith("--")
        and word not in known
        and (not word.startswith("--no-") or "--" + word[5:] not in known)
    ]


def unknown_engine_arguments(document: dict[str, Any]) -> list[str]:
    """Keys of a vLLM `model.json` that its engine does not take."""
    known = flags("vllm")
    return [key for key in document if "--" + key.replace("_", "-") not in known]
