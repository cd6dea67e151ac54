"""Settings of a llama.cpp deployment, for our model in Triton and for the engine inside the inference service."""

from __future__ import annotations

from typing import Any

from headrace_inference.rendering import gguf
from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import LlamaCppDeployment
from headrace_kit.config.deployments.capabilities import keeps_prefixes
from headrace_kit.config.deployments.language import NGRAM_TOKENS
from headrace_kit.errors import BadInput

BATCH_TOKENS = 32
"""Prompt tokens that llama.cpp reads in one go on a CPU: more gains little, and others and a cancel wait for it."""


def settings(name: str, deployment: LlamaCppDeployment, places: Places) -> dict[str, Any]:
    """What `triton_models.llamacpp` needs to know.

    Raises:
        BadInput: an entry has no GGUF file, or the file is not of the kind that the config says.
        NotReady: a file is not on this machine.
    """
    keeps = keeps_prefixes(deployment.engine, deployment)
    return {
        "model": places.path(deployment.model, ".gguf"),
        "weights": "q8_0" if _converts(name, deployment, places) else None,
        "context_tokens": deployment.context_tokens,
        "slots": deployment.slots,
        "threads": deployment.threads,
        "max_output_tokens": deployment.max_output_tokens,
        "max_in_flight": deployment.max_in_flight,
        "batch_tokens": deployment.batch_tokens or BATCH_TOKENS,
        "prefix_caching": keeps,
        "prompt_cache_mib": deployment.prefix_cache_mib if keeps else 0,
        "kv_dtype": deployment.kv_cache.dtype,
        "speculation": _speculation(deployment, places),
        "adapters": {
            adapter: {"path": places.path(wanted.model, ".gguf"), "scale": wanted.scale}
            for adapter, wanted in deployment.adapters.items()
        },
        "tool_parser": deployment.tool_parser,
        "warmup": {"prompt": deployment.warmup.prompt, "system_prompt": deployment.warmup.system_prompt},
    }


def _speculation(deployment: LlamaCppDeployment, places: Places) -> dict[str, Any] | None:
    speculation = deployment.speculation
    if speculation.method == "none":
        return None
    return {
        "method": speculation.method,
        "max_draft_tokens": speculation.max_draft_tokens,
        "ngram_tokens": speculation.ngram_tokens or NGRAM_TOKENS,
        "draft": places.path(speculation.draft, ".gguf") if speculation.draft else None,
    }


def _converts(name: str, deployment: LlamaCppDeployment, places: Places) -> bool:
    """Whether the weights are converted when they are loaded; other kinds than q8_0 are a promise that is checked."""
    path = places.local(deployment.model, ".gguf")
    try:
        found = gguf.read(path).kind if path is not None and deployment.quantization is not None else ""
    except BadInput:  # the engine will say so when it loads the file, and other deployments go on
        found = ""
    if deployment.quantization == "q8_0":
        return found != "q8_0"
    if found and found != deployment.quantization:
        raise BadInput(
            f"deployments.{name}.quantization is {deployment.quantization}, but {deployment.model!r} is {found}: "
            "say so, take another file, or q8_0, to which weights are converted",
            param=f"deployments.{name}.quantization",
        )
    return False
