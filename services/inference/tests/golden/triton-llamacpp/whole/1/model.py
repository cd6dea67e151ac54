"""Triton's entry point."""

from triton_models.llamacpp.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
