"""Triton Inference Server over its gRPC API."""
