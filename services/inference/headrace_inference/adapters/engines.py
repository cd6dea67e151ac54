"""Makes the engine that a deployment's config names. Adapters are imported when the first deployment needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace_inference.adapters.llamacpp.checks import check
from headrace_inference.adapters.triton.engine import TritonEngine
from headrace_inference.adapters.triton.servers import TritonServers
from headrace_inference.ports import Engine
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import (
    BaseDeployment,
    LiteLlmDeployment,
    LlamaCppDeployment,
    OnnxDeployment,
    ServerDeployment,
    TritonGpuDeployment,
    tasks,
)

Files = Callable[[str], Mapping[str, Path]]
"""Downloaded files of a catalogue entry: file name -> path. Raises NotReady where they are not on this machine."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What adapters are made of.

    Attributes:
        tritons: the channels to Tritons, each shared by all deployments on it.
        secrets: where credentials are.
        files: the catalogue's files on this machine.
    """

    tritons: TritonServers
    secrets: Secrets
    files: Files

    def make(self, name: str, config: BaseDeployment) -> Engine:
        """The engine of a deployment; cheap, and contacts nothing."""
        if isinstance(config, LlamaCppDeployment) and config.engine == "llamacpp":
            from headrace_inference.adapters.llamacpp.engine import LlamaCppEngine

            return LlamaCppEngine(name, config, self.files)
        if isinstance(config, TritonGpuDeployment):
            from headrace_inference.adapters.triton.gpu import TritonGpuEngine

            client, metrics = self.tritons.client(config), self.tritons.metrics(config)
            return TritonGpuEngine(name, config, client, self.files, metrics)
        if isinstance(config, ServerDeployment):
            from headrace_inference.adapters.openai_compatible.engine import OpenAiCompatibleEngine

            return OpenAiCompatibleEngine(name, config, self.secrets)
        if isinstance(config, LiteLlmDeployment):
            from headrace_inference.adapters.litellm.engine import LiteLlmEngine

            return LiteLlmEngine(name, config, self.secrets)
        return TritonEngine(
            name,
            self.tritons.client(config),
            getattr(config, "labels", ()),
            streams=not isinstance(config, OnnxDeployment),
            metrics=self.tritons.metrics(config),
            tasks=tasks(config),
            refuse=partial(check, config=config) if isinstance(config, LlamaCppDeployment) else None,
        )
