"""What each engine cannot do, and why: checked when the config is read.

A row is the engines, the option, a test of whether the deployment asks for it, and the reason. An option that no row
refuses is mapped by the engine's module in `headrace_inference.rendering`, which also names the sources: the engines'
own documentation and code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace_kit.config.deployments.language import LanguageDeployment

LLAMACPP = ("triton-llamacpp", "llamacpp")
TRITON_GPU = ("triton-tensorrtllm", "triton-vllm")
GPU = (*TRITON_GPU, "vllm", "sglang", "nim", "tgi")
GGUF_KINDS = ("q4_0", "q4_1", "q4_k_m", "q5_0", "q5_1", "q5_k_m", "q6_k", "q8_0", "f16", "bf16")
DTYPES = ("f16", "bf16")
"""Kinds that are types of numbers, which every engine computes in."""

SHARES_PREFIXES = (*TRITON_GPU, "tgi")
"""Engines whose prefix cache would be one for all tenants: no request can carry a salt to them."""

CONTINUES = ("triton-scripted", *LLAMACPP, *TRITON_GPU, "vllm", "sglang")
"""Engines that go on with an answer that another began: its text stands behind the rendered prompt (vLLM, SGLang:
`continue_final_message`). What is inside a NIM is the image's business; TGI's template for it is not documented."""


@dataclass(frozen=True, slots=True)
class Cannot:
    """One thing that some engines cannot do."""

    engines: tuple[str, ...]
    option: str
    asked: Callable[[LanguageDeployment], bool]
    reason: str


def _speculates(*methods: str) -> Callable[[LanguageDeployment], bool]:
    return lambda deployment: deployment.speculation.method in methods


def _names(option: str) -> Callable[[LanguageDeployment], bool]:
    return lambda deployment: getattr(deployment, option, None) is not None


def _long_prompts(deployment: LanguageDeployment) -> bool:
    """Whether a step is smaller than the longest prompt, and prompts are said to be read in one step."""
    return deployment.batch_tokens is not None and deployment.batch_tokens < deployment.context_tokens


CANNOT: tuple[Cannot, ...] = (
    Cannot(LLAMACPP, "parallel", lambda d: d.parallel.gpus > 1, "it runs on the CPUs of one machine"),
    Cannot(("tgi",), "parallel", lambda d: d.parallel.pipeline > 1, "it has tensor parallelism only"),
    Cannot(LLAMACPP, "kv_cache.fraction", lambda d: d.kv_cache.fraction is not None,
           "its cache is sized by context_tokens and slots"),
    Cannot(LLAMACPP, "kv_cache.dtype", lambda d: d.kv_cache.dtype == "fp8", "it has q8_0 and q4_0"),
    Cannot(GPU, "kv_cache.dtype", lambda d: d.kv_cache.dtype in ("q8_0", "q4_0"), "those are llama.cpp's; it has fp8"),
    Cannot(SHARES_PREFIXES, "kv_cache.prefix_caching", lambda d: d.kv_cache.prefix_caching is True,
           "no request can carry a tenant's salt to it, so one tenant could time another's prompts"),
    Cannot(LLAMACPP, "quantization", lambda d: d.quantization in ("fp8", "int4_awq", "nvfp4"),
           "it reads GGUF files, whose kinds are " + ", ".join(GGUF_KINDS)),
    Cannot(GPU, "quantization", lambda d: d.quantization in GGUF_KINDS and d.quantization not in DTYPES,
           "GGUF kinds are llama.cpp's; it has fp8, int4_awq and nvfp4"),
    Cannot(("tgi",), "quantization", lambda d: d.quantization == "nvfp4", "it has fp8 and int4_awq"),
    Cannot(LLAMACPP, "chunked_prefill", lambda d: d.chunked_prefill is False, "it always reads prompts in pieces"),
    Cannot(("tgi",), "chunked_prefill", lambda d: d.chunked_prefill is not None, "it decides that by itself"),
    Cannot(("triton-tensorrtllm",), "batch_tokens", lambda d: _long_prompts(d) and not d.chunked_prefill,
           "a prompt longer than batch_tokens needs chunked_prefill: true there"),
    Cannot(("triton-vllm", "vllm", "nim"), "batch_tokens", lambda d: _long_prompts(d) and d.chunked_prefill is False,
           "without chunked prefill it wants batch_tokens of at least context_tokens"),
    Cannot(GPU, "adapters", lambda d: any(adapter.scale != 1 for adapter in d.adapters.values()),
           "it applies an adapter as it was trained: scale must be 1"),
    Cannot(("sglang",), "adapters", lambda d: bool(d.adapters) and d.speculation.method == "draft_model",
           "beside adapters it takes speculation by eagle3 or mtp only"),
    Cannot(LLAMACPP, "speculation.method", _speculates("eagle3"),
           "its GGUF files hold no EAGLE-3 heads here; use ngram or draft_model"),
    Cannot(LLAMACPP, "speculation.method", _speculates("mtp"),
           "no GGUF model of the catalogue's kinds has such layers here; use ngram or draft_model"),
    Cannot(("sglang",), "speculation.method", _speculates("ngram"),
           "its n-gram store is one for all requests: one tenant's text would be proposed to another"),
    Cannot(("tgi",), "speculation.method", _speculates("draft_model", "eagle3", "mtp"), "it has ngram only"),
    Cannot(("tgi",), "speculation.ngram_tokens", lambda d: d.speculation.ngram_tokens is not None,
           "it chooses that length by itself"),
    Cannot(LLAMACPP, "accepts", lambda d: bool(d.accepts), "it is run without a multimodal projector"),
    Cannot(("triton-tensorrtllm",), "accepts", lambda d: bool(d.accepts),
           "its model in Triton would fetch a client's image addresses by itself"),
    Cannot(("triton-vllm", "tgi"), "accepts", lambda d: "audio" in d.accepts, "it takes images only"),
    Cannot(("llamacpp",), "triton_address", _names("triton_address"), "it runs without Triton"),
    Cannot(("llamacpp",), "triton_metrics_address", _names("triton_metrics_address"), "it runs without Triton"),
    Cannot(("tgi",), "tool_parser", lambda d: d.tool_parser in ("hermes", "json"),
           "it makes and finds tool calls by a grammar of its own"),
)  # fmt: skip


def refusals(engine: str, deployment: LanguageDeployment) -> Iterator[tuple[str, str]]:
    """(option, message) of everything that `deployment` asks of an engine that cannot do it."""
    for row in CANNOT:
        if engine in row.engines and row.asked(deployment):
            able = [name for name in (*LLAMACPP, *GPU) if not _refuses(name, row.option, deployment)]
            instead = f"; {', '.join(able)} can" if able else ""
            yield row.option, f"engine {engine} cannot do that: {row.reason}{instead}"


def keeps_prefixes(engine: str, deployment: LanguageDeployment) -> bool:
    """Whether the engine keeps prefixes for later requests, also where the config leaves it to the engine."""
    wanted = deployment.kv_cache.prefix_caching
    return engine not in SHARES_PREFIXES if wanted is None else wanted


def _refuses(engine: str, option: str, deployment: LanguageDeployment) -> bool:
    return any(engine in row.engines and row.option == option and row.asked(deployment) for row in CANNOT)
