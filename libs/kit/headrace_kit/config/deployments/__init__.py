"""`deployments:` a model on an engine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headrace_kit.config.deployments.base import NANO, BaseDeployment, Price, TritonDeployment
from headrace_kit.config.deployments.capabilities import CONTINUES
from headrace_kit.config.deployments.gpu import ServerDeployment, TritonGpuDeployment
from headrace_kit.config.deployments.hosted import LiteLlmDeployment
from headrace_kit.config.deployments.language import (
    KvCache,
    LanguageDeployment,
    LoraAdapter,
    Parallel,
    Speculation,
    Warmup,
)
from headrace_kit.config.deployments.llamacpp import LlamaCppDeployment
from headrace_kit.config.deployments.outside import OpenAiDeployment
from headrace_kit.config.deployments.texts import OnnxDeployment, ScriptedDeployment

__all__ = [
    "NANO",
    "BaseDeployment",
    "Deployment",
    "KvCache",
    "LanguageDeployment",
    "LiteLlmDeployment",
    "LlamaCppDeployment",
    "LoraAdapter",
    "OnnxDeployment",
    "OpenAiDeployment",
    "Parallel",
    "Price",
    "ScriptedDeployment",
    "ServerDeployment",
    "Speculation",
    "TritonDeployment",
    "TritonGpuDeployment",
    "Warmup",
    "continues",
    "entries_of",
    "on_triton",
    "outside",
    "tasks",
]

Deployment = Annotated[
    LlamaCppDeployment
    | TritonGpuDeployment
    | ServerDeployment
    | LiteLlmDeployment
    | OpenAiDeployment
    | OnnxDeployment
    | ScriptedDeployment,
    Field(discriminator="engine"),
]
"""A deployment; `engine` says which kind."""


def tasks(deployment: BaseDeployment) -> tuple[str, ...]:
    """What a deployment can do: `generate`, `embed`, `rerank` or `classify`."""
    if isinstance(deployment, OnnxDeployment | LiteLlmDeployment | OpenAiDeployment):
        return (deployment.task,)
    return ("generate",)


def outside(deployment: BaseDeployment) -> bool:
    """Whether nothing of it runs here: the gateway calls its endpoint itself, and inference does not know it."""
    return isinstance(deployment, OpenAiDeployment)


def on_triton(deployment: BaseDeployment) -> bool:
    """Whether Triton runs it, so that it has a model in Triton's repository."""
    return str(getattr(deployment, "engine", "")).startswith("triton-")


def continues(deployment: BaseDeployment) -> bool:
    """Whether it can go on with an answer that another engine began (`GenerateRequest.continue_from`)."""
    if isinstance(deployment, LiteLlmDeployment):
        return deployment.continues
    return str(getattr(deployment, "engine", "")) in CONTINUES


def entries_of(deployment: BaseDeployment) -> tuple[str, ...]:
    """Entries of the catalogue that a deployment needs: its weights, its draft's, its adapters'."""
    if isinstance(deployment, LanguageDeployment):
        draft = deployment.speculation.draft
        adapters = (adapter.model for adapter in deployment.adapters.values())
        return tuple(dict.fromkeys((deployment.model, *([draft] if draft else []), *adapters)))
    return (deployment.model,) if isinstance(deployment, OnnxDeployment) else ()
