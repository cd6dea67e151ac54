"""Triton's entry point."""

from triton_models.embedder.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
