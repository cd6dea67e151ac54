"""Deployments on engines that need GPUs: TensorRT-LLM and vLLM inside Triton, and servers that speak OpenAI's API."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, SecretRef
from headrace_kit.config.deployments.base import TritonDeployment, WakingDeployment
from headrace_kit.config.deployments.language import LanguageDeployment


class TritonGpuDeployment(LanguageDeployment, TritonDeployment):
    """A language model on TensorRT-LLM or vLLM inside Triton."""

    engine: Literal["triton-tensorrtllm", "triton-vllm"] = Field(description="What runs it inside Triton.")
    plain_instance: bool = Field(
        False,
        description="Run a second instance without speculation, which takes over while speculation does not pay. "
        "It needs its own GPU memory.",
    )

    @model_validator(mode="after")
    def _plain(self) -> TritonGpuDeployment:
        if self.plain_instance and self.speculation.method == "none":
            raise ValueError("plain_instance is for deployments with speculation")
        return self


class ServerDeployment(LanguageDeployment, WakingDeployment):
    """A language model on a server of its own that speaks OpenAI's API and that we host: vLLM, SGLang, NIM or TGI."""

    engine: Literal["vllm", "sglang", "nim", "tgi"] = Field(description="What the server is.")
    address: str = Field(description="Base URL of the server, without /v1.", pattern=r"^https?://[^\s/]+(/[^\s]*)?$")
    plain_address: str | None = Field(
        None,
        description="Base URL of an instance without speculation, which takes over while speculation does not pay.",
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
    )
    served_name: str | None = Field(None, description="The model's name on the server. Default: the deployment's.")
    credentials: SecretRef | None = Field(None, description="Key that the server wants as a bearer token.")
    tenant_salt: SecretRef | None = Field(
        None,
        description="Key that keeps tenants' prefixes apart in the server's cache, the same for all replicas of "
        "inference. Default: a random one a process, so that replicas and restarts share no prefixes.",
    )
    timeout: Duration = Field(120, gt=0, le=3600, description="Longest wait for the server's next sign of life.")

    @model_validator(mode="after")
    def _plain(self) -> ServerDeployment:
        if self.plain_address is not None and self.speculation.method == "none":
            raise ValueError("plain_address is for deployments with speculation")
        return self
