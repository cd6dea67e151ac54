"""`deployments:` a model on an engine."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name, Section

NANO = 1_000_000_000


class Price(Section):
    """What a million tokens cost. Decimals in US dollars; counted inside as nano-dollars."""

    input_usd_per_million: Decimal = Field(
        Decimal(0), ge=0, le=10_000, description="US dollars per million input tokens."
    )
    cached_input_usd_per_million: Decimal | None = Field(
        None, ge=0, le=10_000, description="The same for tokens read from a prefix cache. Default: the input price."
    )
    output_usd_per_million: Decimal = Field(
        Decimal(0), ge=0, le=10_000, description="US dollars per million output tokens."
    )

    def cost_nano_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """Cost in nano-dollars, rounded to nearest; `cached_tokens` are part of `input_tokens`."""
        cached = (
            self.input_usd_per_million
            if self.cached_input_usd_per_million is None
            else self.cached_input_usd_per_million
        )
        fresh = input_tokens - cached_tokens
        per_million = (
            fresh * self.input_usd_per_million + cached_tokens * cached + output_tokens * self.output_usd_per_million
        )
        return round(per_million * NANO / 1_000_000)


class Speculation(Section):
    """Speculative decoding."""

    method: Literal["none", "ngram"] = Field("none", description="How drafts are made. `ngram`: from the text so far.")
    max_draft_tokens: int = Field(8, ge=1, le=64, description="Most tokens proposed a step.")


class _Deployment(Section):
    price: Price = Field(default_factory=Price, description="What its tokens cost.")
    max_in_flight: int = Field(
        64, ge=1, le=10_000, description="Requests in the engine and its queue; more are refused."
    )


class LlamaCppDeployment(_Deployment):
    """A GGUF language model on llama.cpp inside Triton."""

    engine: Literal["triton-llamacpp"] = "triton-llamacpp"
    model: Name = Field(description="Entry of the catalogue; its first `.gguf` file is loaded.")
    context_tokens: int = Field(4096, ge=256, le=1_048_576, description="Context of each slot, in tokens.")
    slots: int = Field(4, ge=1, le=256, description="Requests that run at once; further ones wait.")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of the engine.")
    max_output_tokens: int = Field(1024, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")
    speculation: Speculation = Field(default_factory=Speculation, description="Speculative decoding.")


class OnnxDeployment(_Deployment):
    """An ONNX embedding model or cross-encoder inside Triton."""

    engine: Literal["triton-python"] = "triton-python"
    task: Literal["embed", "rerank"] = Field(
        description="`embed`: texts to vectors. `rerank`: scores of query and text."
    )
    model: Name = Field(description="Entry of the catalogue: `model.onnx` and `tokenizer.json`.")
    max_input_tokens: int = Field(256, ge=8, le=8192, description="Longest text, in tokens.")
    dimensions: int | None = Field(None, ge=1, le=16_384, description="Length of a vector. Required for `embed`.")
    threads: int = Field(1, ge=1, le=256, description="CPU threads.")

    @model_validator(mode="after")
    def _dimensions(self) -> OnnxDeployment:
        if (self.task == "embed") != (self.dimensions is not None):
            raise ValueError("dimensions is required for task embed, and only there")
        return self


class ScriptedDeployment(_Deployment):
    """A language model that says what the request tells it to, for load and fault tests."""

    engine: Literal["triton-scripted"] = "triton-scripted"
    context_tokens: int = Field(4096, ge=256, le=1_048_576, description="Longest prompt, in words.")
    max_output_tokens: int = Field(1024, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")


Deployment = Annotated[
    LlamaCppDeployment | OnnxDeployment | ScriptedDeployment,
    Field(discriminator="engine"),
]
"""A deployment; `engine` says which kind."""


def tasks(deployment: LlamaCppDeployment | OnnxDeployment | ScriptedDeployment) -> tuple[str, ...]:
    """What a deployment can do: `generate`, `embed` or `rerank`."""
    return (deployment.task,) if isinstance(deployment, OnnxDeployment) else ("generate",)
