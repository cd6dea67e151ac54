"""A gateway that does what its caller asks for, to see what a host makes of it. Stands before the real one."""

import asyncio
from pathlib import Path

from headrace_kit.errors import NotFound, Upstream
from headrace_kit.hosting import HttpApp, ServiceApp, Servicing
from headrace_kit.rpc import rpc
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc


class Events:
    """Lines in a file of the data folder: what happened in the replica."""

    def __init__(self, runtime):
        self._path = Path(runtime.env.data_dir) / "events"

    def add(self, event):
        with self._path.open("a") as file:
            file.write(f"{event}\n")


class Gateway(service_pb2_grpc.GatewayServiceServicer):
    def __init__(self, runtime):
        self.rpc_runtime = runtime.rpc
        self.events = Events(runtime)

    @rpc(public=True)
    async def Generate(self, request, call):
        if request.model == "missing":
            raise NotFound("no such model", code="model_not_found", param="model")
        if request.model == "broken":
            raise ValueError("a secret")
        if request.model == "forever":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.events.add(f"{request.prompt} cancelled")
                raise
        return messages_pb2.GenerateResponse(id=call.metadata.get("x-seen", ""), model=request.prompt)

    @rpc(public=True)
    async def GenerateStream(self, request, call):
        for number in range(3):
            yield messages_pb2.GenerateChunk(text=str(number))
        if request.model == "broken":
            raise Upstream("the engine died", code="engine_died", retry_after_s=2)
        if request.model == "forever":
            try:
                while True:
                    await asyncio.sleep(0.02)
                    yield messages_pb2.GenerateChunk(text="more")
            finally:
                self.events.add(f"{request.prompt} ended")


def build(runtime):
    events = Events(runtime)
    gateway = Gateway(runtime)

    async def asgi(scope, receive, send):
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        number = 0
        try:
            while scope["path"] == "/forever" or number < 3:
                await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
                number += 1
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            events.add("http client gone")
            raise
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def start():
        events.add("start")

    async def stop():
        events.add("stop")

    servicing = Servicing(
        service_pb2_grpc.add_GatewayServiceServicer_to_server, gateway, "headrace.gateway.v1.GatewayService"
    )
    return ServiceApp("gateway", [servicing], http=HttpApp(rsgi=None, asgi=asgi), start=start, stop=stop)
