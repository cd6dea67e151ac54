"""Language models on engines that we host: one vocabulary over all of them.

Moving a deployment to another engine is a change of `engine`; what the new engine cannot do is an error that names it
(see `capabilities`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section
from headrace_kit.config.deployments.base import BaseDeployment

Quantization = Literal[
    "fp8", "int4_awq", "nvfp4",
    "q4_0", "q4_1", "q4_k_m", "q5_0", "q5_1", "q5_k_m", "q6_k", "q8_0", "f16", "bf16",
]  # fmt: skip
"""How weights are stored. The `q` kinds are GGUF files'; GPU engines compute in `f16` or `bf16` where it says so."""

NGRAM_TOKENS = 6
"""Tokens that must recur where the config says nothing: fewer propose much that is refused."""


class Speculation(Section):
    """Speculative decoding: cheap drafts of several tokens, checked by the model in one step."""

    method: Literal["none", "ngram", "draft_model", "eagle3", "mtp"] = Field(
        "none",
        description="How drafts are made. `ngram`: from the request's own text. `draft_model`: by a smaller model. "
        "`eagle3`: by an EAGLE-3 head. `mtp`: by the model's own multi-token-prediction layers.",
    )
    max_draft_tokens: int = Field(8, ge=1, le=64, description="Most tokens proposed a step.")
    draft: Name | None = Field(
        None, description="Entry of the catalogue: the draft model or EAGLE-3 head. Required for those two methods."
    )
    ngram_tokens: int | None = Field(
        None,
        ge=1,
        le=64,
        description="`ngram`: tokens that must recur before what followed them is proposed again. "
        "Default: 6, or the engine's own where it cannot be set.",
    )
    adaptive: bool = Field(
        True,
        description="Turn speculation off while it does not pay, by measured acceptance and batch occupancy: requests "
        "go to an instance that does not draft. llama.cpp has one beside each that does; elsewhere it is the plain "
        "instance, where there is one, else the engine's own schedule over batch sizes, where it has one.",
    )

    @model_validator(mode="after")
    def _draft(self) -> Speculation:
        needs = self.method in ("draft_model", "eagle3")
        if needs != (self.draft is not None):
            raise ValueError(
                f"speculation.draft is required for method {self.method}"
                if needs
                else f"speculation.draft is for the methods draft_model and eagle3, not {self.method}"
            )
        return self


class Parallel(Section):
    """GPUs that one instance of the model is spread over: `tensor` times `pipeline`."""

    tensor: int = Field(1, ge=1, le=64, description="GPUs that share each layer.")
    pipeline: int = Field(1, ge=1, le=64, description="Groups of GPUs that hold consecutive layers.")

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.tensor * self.pipeline


class KvCache(Section):
    """Memory of what was read and said so far."""

    fraction: float | None = Field(
        None, gt=0, lt=1, description="Share of GPU memory for it (vLLM, SGLang: for weights and cache together)."
    )
    dtype: Literal["auto", "fp8", "q8_0", "q4_0"] = Field(
        "auto", description="Type of its numbers. `auto`: the model's own. `q8_0` and `q4_0` are llama.cpp's."
    )
    prefix_caching: bool | None = Field(
        None,
        description="Keep it for the next request that starts with the same text. Never shared between tenants. "
        "Default: on, where the engine can keep tenants apart.",
    )


class LoraAdapter(Section):
    """A LoRA adapter that requests may name."""

    model: Name = Field(description="Entry of the catalogue with the adapter's files.")
    scale: float = Field(1.0, ge=0, le=10, description="How strongly it applies (llama.cpp only).")
    rank: int | None = Field(
        None,
        ge=1,
        le=512,
        description="Its rank, for which GPU engines reserve memory. Default: what its adapter_config.json says.",
    )


class Warmup(Section):
    """What a deployment does between loading and ready."""

    prompt: str | None = Field(
        "Hello", min_length=1, description="Prompt that is answered once before the deployment is ready; null: none."
    )
    system_prompt: str | None = Field(
        None,
        min_length=1,
        description="System prompt that many requests share: it is put into the prefix cache for all tenants.",
    )


class LanguageDeployment(BaseDeployment):
    """A language model whose weights we run."""

    model: Name = Field(description="Entry of the catalogue.")
    context_tokens: int = Field(
        4096, ge=256, le=1_048_576, description="Context of a request, prompt and answer, in tokens."
    )
    slots: int = Field(4, ge=1, le=4096, description="Requests that run at once, batched; further ones wait.")
    batch_tokens: int | None = Field(
        None, ge=16, le=1_048_576,
        description="Most tokens computed in one step over all requests. Default: the engine's own (llama.cpp: 32).",
    )  # fmt: skip
    max_output_tokens: int = Field(1024, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")
    quantization: Quantization | None = Field(
        None,
        description="How the weights are stored. Default: what the files say. GGUF files are checked against it; "
        "to `q8_0` they are converted when first loaded. For files that llama.cpp computes slowly (q4_1, q5_1) "
        "that halves the time for prompts and makes speculation pay, with up to 1.7 times the memory.",
    )
    parallel: Parallel = Field(default_factory=Parallel, description="GPUs.")
    kv_cache: KvCache = Field(default_factory=KvCache, description="Key-value cache.")
    chunked_prefill: bool | None = Field(
        None, description="Read long prompts in pieces between other requests' steps. Default: the engine's own."
    )
    adapters: dict[Name, LoraAdapter] = Field(
        default_factory=dict, description="LoRA adapters by the name that requests use."
    )
    speculation: Speculation = Field(default_factory=Speculation, description="Speculative decoding.")
    accepts: tuple[Literal["image", "audio"], ...] = Field(
        (), description="What messages may hold besides text; the model must be able to take it."
    )
    tool_parser: Literal["auto", "hermes", "json", "none"] = Field(
        "auto",
        description="How tool calls are found in the answer. `auto`: as the model's template says. "
        "`hermes`: `<tool_call>` tags. `json`: a bare object with name and arguments. `none`: tools are refused.",
    )
    warmup: Warmup = Field(default_factory=Warmup, description="What happens before the deployment is ready.")
