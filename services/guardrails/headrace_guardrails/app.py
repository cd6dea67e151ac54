"""Wires the service."""

from __future__ import annotations

from typing import cast

from headrace_guardrails.adapters.detectors import compile_tier_1
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.grpc_api.servicer import GuardrailsServicer
from headrace_guardrails.metrics import Metrics
from headrace_kit.config.services import Guardrails as GuardrailsSettings
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_protos.guardrails.v1 import service_pb2_grpc


def build(runtime: ServiceRuntime) -> ServiceApp:
    """Make the service from its config; it contacts nobody."""
    settings = cast(GuardrailsSettings, runtime.settings)
    policies = Policies(compile_tier_1)
    metrics = Metrics(runtime.registry)

    def follow(snapshot: Snapshot) -> None:
        policies.apply(snapshot.hash, snapshot.config.guardrails)

    follow(runtime.configs.current)
    runtime.configs.on_change(follow)
    return ServiceApp(
        name="guardrails",
        servicers=[
            Servicing(
                service_pb2_grpc.add_GuardrailsServiceServicer_to_server,
                GuardrailsServicer(runtime.rpc, Guard(policies, metrics, settings.max_text_bytes), policies, metrics),
                "headrace.guardrails.v1.GuardrailsService",
            )
        ],
        problems=policies.problems,
    )
