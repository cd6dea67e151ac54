"""A guardrails service that echoes. Stands before the real one."""

from headrace_kit.errors import Blocked
from headrace_kit.hosting import ServiceApp, Servicing
from headrace_kit.rpc import rpc
from headrace_protos.guardrails.v1 import messages_pb2, service_pb2_grpc


class Guardrails(service_pb2_grpc.GuardrailsServiceServicer):
    def __init__(self, runtime):
        self.rpc_runtime = runtime.rpc

    @rpc(callers={"gateway"})
    async def Check(self, request, call):
        return messages_pb2.CheckResponse(text=f"{call.caller.tenant} {call.request_id}")

    @rpc(callers={"gateway"})
    async def CheckStream(self, request, call):
        async for piece in request:
            if piece.delta == "bad":
                raise Blocked("the policy says no", param="delta")
            yield messages_pb2.CheckStreamResponse(text=piece.delta.upper())


def build(runtime):
    return ServiceApp(
        "guardrails",
        [
            Servicing(
                service_pb2_grpc.add_GuardrailsServiceServicer_to_server,
                Guardrails(runtime),
                "headrace.guardrails.v1.GuardrailsService",
            )
        ],
    )
