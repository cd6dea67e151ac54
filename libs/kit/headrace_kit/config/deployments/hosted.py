"""Models of hosted providers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, SecretRef
from headrace_kit.config.deployments.base import BaseDeployment


class LiteLlmDeployment(BaseDeployment):
    """A model of a hosted provider, reached by litellm."""

    engine: Literal["litellm"] = "litellm"
    task: Literal["generate", "embed"] = Field("generate", description="`generate`: text. `embed`: texts to vectors.")
    model: str = Field(
        description="Provider and model in litellm's form, for example `openai/gpt-5-mini`.", pattern=r"^[\w.-]+/\S+$"
    )
    address: str | None = Field(
        None, description="Base URL instead of the provider's own.", pattern=r"^https?://[^\s/]+(/[^\s]*)?$"
    )
    credentials: SecretRef | None = Field(None, description="The provider's API key.")
    api_version: str | None = Field(None, description="Version of the provider's API, where it has one (Azure).")
    slots: int = Field(32, ge=1, le=10_000, description="Requests to the provider at one time; further ones wait.")
    context_tokens: int = Field(128_000, ge=256, le=10_000_000, description="Context of the model, in tokens.")
    max_output_tokens: int = Field(4096, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")
    accepts: tuple[Literal["image", "audio"], ...] = Field((), description="What messages may hold besides text.")
    prompt_caching: Literal["auto", "mark_system", "none"] = Field(
        "auto",
        description="`auto`: what the provider does by itself, and marks in the request pass. `mark_system`: system "
        "prompts are marked with cache_control, for providers that want it. `none`: marks are removed.",
    )
    continues: bool = Field(
        False,
        description="The provider goes on with an assistant's turn that stands last in the messages (Anthropic's older "
        "models, Mistral, DeepSeek, Cohere): what `failover: continue` needs.",
    )
    dimensions: int | None = Field(None, ge=1, le=16_384, description="Length of a vector. Required for `embed`.")
    timeout: Duration = Field(120, gt=0, le=3600, description="Longest wait for the provider's next sign of life.")

    @model_validator(mode="after")
    def _dimensions(self) -> LiteLlmDeployment:
        if (self.task == "embed") != (self.dimensions is not None):
            raise ValueError("dimensions is required for task embed, and only there")
        return self
