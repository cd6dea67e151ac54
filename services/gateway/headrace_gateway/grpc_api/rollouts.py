"""`headrace.rollout.v1` for admins; grants are for gateways alone."""

from __future__ import annotations

from headrace_gateway.admission.door import Door
from headrace_gateway.grpc_api.passed import passing
from headrace_gateway.ports import Services
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import RpcRuntime
from headrace_protos.rollout.v1 import service_pb2, service_pb2_grpc

PassedRollouts = passing(
    service_pb2.DESCRIPTOR.services_by_name["RolloutService"],
    service_pb2_grpc.RolloutServiceServicer,
    "rollout",
    without={"Watch"},
    admin=True,
)


def servicing(runtime: RpcRuntime, door: Door, services: Services) -> Servicing:
    """The servicer for a host to add."""
    return Servicing(
        service_pb2_grpc.add_RolloutServiceServicer_to_server,
        PassedRollouts(runtime, door, services),
        PassedRollouts.service,
    )
