"""A guardrails service that answers at once, through its host and on a gRPC port of its own."""

from __future__ import annotations

from typing import Any

from grpc import aio

from headrace_kit.hosting import ServiceApp, ServiceRuntime, Servicing
from headrace_kit.rpc import Call, rpc
from headrace_protos.guardrails.v1 import messages_pb2, service_pb2_grpc


class Echo(service_pb2_grpc.GuardrailsServiceServicer):
    """Gives a text back."""

    def __init__(self, runtime: ServiceRuntime) -> None:
        self.rpc_runtime = runtime.rpc

    @rpc(callers={"gateway"})
    async def Check(self, request: messages_pb2.CheckRequest, call: Call) -> messages_pb2.CheckResponse:
        """The text, unchecked."""
        return messages_pb2.CheckResponse(text=request.text)


def build(runtime: ServiceRuntime) -> ServiceApp:
    """The port of its own is the one that the service has where it is a process."""
    echo = Echo(runtime)
    add: Any = service_pb2_grpc.add_GuardrailsServiceServicer_to_server
    servers: list[aio.Server] = []

    async def start() -> None:
        server = aio.server()
        add(echo, server)
        server.add_insecure_port(f"127.0.0.1:{runtime.env.port('guardrails-grpc')}")
        await server.start()
        servers.append(server)

    async def stop() -> None:
        await servers[0].stop(1)

    return ServiceApp(
        "guardrails", [Servicing(add, echo, "headrace.guardrails.v1.GuardrailsService")], start=start, stop=stop
    )
