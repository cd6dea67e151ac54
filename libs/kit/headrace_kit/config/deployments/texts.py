"""Small ONNX models over texts, and the scripted model, inside Triton."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Name
from headrace_kit.config.deployments.base import TritonDeployment


class OnnxDeployment(TritonDeployment):
    """An ONNX embedding model, cross-encoder or classifier inside Triton."""

    engine: Literal["triton-python"] = "triton-python"
    task: Literal["embed", "rerank", "classify"] = Field(
        description="`embed`: texts to vectors. `rerank`: scores of query and text. `classify`: a score a label."
    )
    model: Name = Field(description="Entry of the catalogue: `model.onnx` and `tokenizer.json`.")
    max_input_tokens: int = Field(256, ge=8, le=8192, description="Longest text, in tokens.")
    dimensions: int | None = Field(None, ge=1, le=16_384, description="Length of a vector. Required for `embed`.")
    labels: tuple[str, ...] = Field(
        (), max_length=1000, description="`classify`: names of the model's outputs, in their order. Required there."
    )
    multi_label: bool = Field(
        False, description="`classify`: each label is judged by itself (sigmoid) instead of all together (softmax)."
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads.")

    @model_validator(mode="after")
    def _fields_of_task(self) -> OnnxDeployment:
        if (self.task == "embed") != (self.dimensions is not None):
            raise ValueError("dimensions is required for task embed, and only there")
        if (self.task == "classify") != bool(self.labels):
            raise ValueError("labels is required for task classify, and only there")
        if self.multi_label and self.task != "classify":
            raise ValueError("multi_label is for task classify")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ")
        return self


class ScriptedDeployment(TritonDeployment):
    """A language model that says what the request tells it to, for load and fault tests."""

    engine: Literal["triton-scripted"] = "triton-scripted"
    context_tokens: int = Field(4096, ge=256, le=1_048_576, description="Longest prompt, in words.")
    max_output_tokens: int = Field(1024, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")
