"""The one table of ports: an offset from `HEADRACE_PORT_BASE` for everything that listens on one machine."""

from __future__ import annotations

from types import MappingProxyType

SERVICES = ("gateway", "inference", "retrieval", "guardrails", "tracing", "rollout")
"""The six services, in the order in which a request meets them."""

BLOCK = 100
"""Ports from the base that one platform may use."""

OFFSETS = MappingProxyType(
    {
        "gateway-http": 0,
        "gateway-grpc": 1,
        "gateway-ops": 2,
        "inference-grpc": 10,
        "inference-ops": 12,
        "retrieval-grpc": 20,
        "retrieval-ops": 22,
        "guardrails-grpc": 30,
        "guardrails-ops": 32,
        "tracing-grpc": 40,
        "tracing-ops": 42,
        "tracing-otlp": 43,
        "tracing-console": 44,
        "rollout-grpc": 50,
        "rollout-ops": 52,
        "postgres": 60,
        "valkey": 61,
        "triton-http": 70,
        "triton-grpc": 71,
        "triton-metrics": 72,
        "ray-gcs": 80,
        "ray-node": 81,
        "ray-objects": 82,
        "ray-agent-http": 83,
        "ray-agent-grpc": 84,
        "ray-runtime-env": 85,
        "ray-metrics": 86,
        "ray-haproxy-stats": 87,
        "ray-haproxy-metrics": 88,
        "ray-proxy-http": 89,
        "ray-proxy-grpc": 90,
        "ray-ops": 92,
    }
)
