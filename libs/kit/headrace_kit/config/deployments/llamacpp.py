"""Deployments on llama.cpp."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace_kit.config.deployments.base import TritonDeployment
from headrace_kit.config.deployments.language import LanguageDeployment


class LlamaCppDeployment(LanguageDeployment, TritonDeployment):
    """A GGUF language model on llama.cpp: inside Triton, or inside the inference service where there is no Triton."""

    engine: Literal["triton-llamacpp", "llamacpp"] = Field(
        "triton-llamacpp", description="`triton-llamacpp`: inside Triton. `llamacpp`: inside the inference service."
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads of the engine.")
    prefix_cache_mib: int = Field(
        64,
        ge=0,
        le=1_048_576,
        description="Memory in which prefixes are kept that slots hold no longer, in MiB. Prefixes are used again for "
        "their own tenant only, but for those of the platform's own prompts.",
    )
