"""Triton's entry point."""

from triton_models.scripted.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
