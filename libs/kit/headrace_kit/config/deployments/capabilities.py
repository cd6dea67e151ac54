"""What each engine cannot do, and why: checked when the config is read.

A row is the engine, the option, a test of whether the deployment asks for it, and the reason. The engines'
own words are in their documentation: TensorRT-LLM LLM API reference, vLLM engine arguments, SGLang server arguments,
llama.cpp server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace_kit.config.deployments.language import LanguageDeployment

LLAMACPP = ("triton-llamacpp", "llamacpp")
GPU = ("triton-tensorrtllm", "triton-vllm", "vllm", "sglang", "nim", "tgi")
GGUF_KINDS = ("q4_0", "q4_1", "q4_k_m", "q5_0", "q5_1", "q5_k_m", "q6_k", "q8_0", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class Cannot:
    """One thing that some engines cannot do."""

    engines: tuple[str, ...]
    option: str
    asked: Callable[[LanguageDeployment], bool]
    reason: str


CANNOT: tuple[Cannot, ...] = (
    Cannot(LLAMACPP, "parallel", lambda d: d.parallel.gpus > 1, "it runs on the CPUs of one machine"),
    Cannot(LLAMACPP, "kv_cache.fraction", lambda d: d.kv_cache.fraction is not None,
           "its cache is sized by context_tokens and slots"),
    Cannot(LLAMACPP, "kv_cache.dtype", lambda d: d.kv_cache.dtype == "fp8", "it has q8_0 and q4_0"),
    Cannot(GPU, "kv_cache.dtype", lambda d: d.kv_cache.dtype in ("q8_0", "q4_0"), "those are llama.cpp's; it has fp8"),
    Cannot(LLAMACPP, "quantization", lambda d: d.quantization in ("fp8", "int4_awq", "nvfp4"),
           "it reads GGUF files, whose kinds are " + ", ".join(GGUF_KINDS)),
    Cannot(GPU, "quantization", lambda d: d.quantization in GGUF_KINDS and d.quantization != "bf16",
           "GGUF kinds are llama.cpp's; it has fp8, int4_awq and nvfp4"),
    Cannot(LLAMACPP, "chunked_prefill", lambda d: d.chunked_prefill is False, "it always reads prompts in pieces"),
    Cannot(LLAMACPP, "speculation.method", lambda d: d.speculation.method == "eagle3",
           "its GGUF files hold no EAGLE-3 heads here; use ngram or draft_model"),
    Cannot(LLAMACPP, "speculation.method", lambda d: d.speculation.method == "mtp",
           "no GGUF model of the catalogue's kinds has such layers here; use ngram or draft_model"),
    Cannot(LLAMACPP, "accepts", lambda d: bool(d.accepts), "it is run without a multimodal projector"),
)  # fmt: skip
"""Extended by the rendering of each engine."""


def refusals(engine: str, deployment: LanguageDeployment) -> Iterator[tuple[str, str]]:
    """(option, message) of everything that `deployment` asks of an engine that cannot do it."""
    for row in CANNOT:
        if engine in row.engines and row.asked(deployment):
            able = [name for name in (*LLAMACPP, *GPU) if name not in row.engines]
            instead = f"; {', '.join(able)} can" if able else ""
            yield row.option, f"engine {engine} cannot do that: {row.reason}{instead}"
