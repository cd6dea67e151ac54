"""Servicer methods as Serve calls them, with a context that ends calls as Ray Serve 2.60 does. Ray is not needed."""

from __future__ import annotations

import asyncio
import inspect

import grpc
import pytest
from google.rpc import status_pb2
from grpc.aio import AioRpcError, Metadata

from headrace_kit.errors import INTERNAL_MESSAGE, NotFound
from headrace_kit.hosting import Servicing
from headrace_kit.hosting.ray_app import WithoutLifespan, route_prefix
from headrace_kit.hosting.ray_calls import mark_direct_calls, serve_methods
from headrace_kit.rpc import metadata
from headrace_kit.rpc.status import end_with, from_rpc_error, to_status
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc
from headrace_protos.guardrails.v1 import messages_pb2 as guardrails_pb2
from headrace_protos.guardrails.v1 import service_pb2_grpc as guardrails_grpc


def context_class():
    """As much of Ray's context as calls use; like Ray's, it adds the trailers to a list of its own."""

    class Context:
        def __init__(self, grpc_context):
            self._code, self._details, self._trailing = 0, "", [("request_id", "ray's")]

        def code(self):
            return self._code

        def set_code(self, code):
            self._code = code

        def trailing_metadata(self):
            return self._trailing

        def set_details(self, details):
            self._details = details

        def set_trailing_metadata(self, trailing):
            self._trailing = self._trailing[:1] + trailing

    return Context


def direct():
    kind = context_class()
    mark_direct_calls(kind)
    return kind(None)


def ended(context):
    """Code, details and the typed status in the trailers."""
    raw = dict(context._trailing).get(metadata.STATUS_DETAILS)
    return context._code, context._details, raw and status_pb2.Status.FromString(raw)


class Gateway(service_pb2_grpc.GatewayServiceServicer):
    def __init__(self):
        self.closed = False

    async def Generate(self, request, grpc_context=None):
        if request.model == "missing":
            error = NotFound("no such model", param="model")
            await end_with(grpc_context, to_status(error, "r1"), error)
        if request.model == "broken":
            raise ValueError("a secret")
        if request.model == "cancelled":
            raise asyncio.CancelledError
        return messages_pb2.GenerateResponse(id=request.prompt)

    async def GenerateStream(self, request, grpc_context=None):
        try:
            for text in ("a", "b"):
                yield messages_pb2.GenerateChunk(text=text)
            if request.model == "missing":
                error = NotFound("no such model", param="model")
                await end_with(grpc_context, to_status(error, "r1"), error)
        finally:
            self.closed = True


class Guardrails(guardrails_grpc.GuardrailsServiceServicer):
    async def CheckStream(self, request, grpc_context=None):
        async for piece in request:
            yield guardrails_pb2.CheckStreamResponse(text=piece.delta)


def gateway(servicer=None):
    return Servicing(
        service_pb2_grpc.add_GatewayServiceServicer_to_server,
        servicer or Gateway(),
        "headrace.gateway.v1.GatewayService",
    )


def asked(model="", prompt=""):
    return messages_pb2.GenerateRequest(model=model, prompt=prompt)


async def test_methods_look_as_serve_wants_them():
    methods = serve_methods([gateway()])
    assert {"Generate", "GenerateStream", "ListModels"} <= methods.keys()
    assert inspect.iscoroutinefunction(methods["Generate"])
    assert inspect.isasyncgenfunction(methods["GenerateStream"])
    assert all("grpc_context" in inspect.signature(method).parameters for method in methods.values())
    assert all(method.__name__ == name for name, method in methods.items())
    answer = await methods["Generate"](asked(prompt="hello"), grpc_context=direct())
    assert answer.id == "hello"


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"headrace.gateway.v1.GatewayService and other both have a method Generate"):
        serve_methods([gateway(), Servicing(service_pb2_grpc.add_GatewayServiceServicer_to_server, Gateway(), "other")])


async def test_an_error_is_returned_so_that_its_trailers_are_sent():
    context = direct()
    answer = await serve_methods([gateway()])["Generate"](asked("missing"), grpc_context=context)
    assert answer.SerializeToString() == b""
    code, details, status = ended(context)
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "no such model")
    assert status.message == "no such model" and len(status.details) == 1


async def test_an_error_that_nobody_mapped_tells_nothing():
    context = direct()
    await serve_methods([gateway()])["Generate"](asked("broken"), grpc_context=context)
    code, details, status = ended(context)
    assert (code, details) == (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
    assert b"secret" not in status.SerializeToString()


async def test_a_cancelled_call_stays_cancelled():
    context = direct()
    with pytest.raises(asyncio.CancelledError):
        await serve_methods([gateway()])["Generate"](asked("cancelled"), grpc_context=context)
    assert not context.code()


async def test_a_stream_that_fails_ends_after_what_it_said():
    context = direct()
    said = [c.text async for c in serve_methods([gateway()])["GenerateStream"](asked("missing"), grpc_context=context)]
    assert said == ["a", "b"]
    assert ended(context)[0] is grpc.StatusCode.NOT_FOUND
    assert ended(context)[2] is not None


async def test_a_stream_that_came_through_rays_proxy_raises_as_the_proxy_learns_nothing_else():
    context = context_class()(None)
    said = []
    with pytest.raises(NotFound):
        async for chunk in serve_methods([gateway()])["GenerateStream"](asked("missing"), grpc_context=context):
            said.append(chunk.text)
    assert said == ["a", "b"]
    code, details, _ = ended(context)
    assert (code, details.split(" [")[0]) == (grpc.StatusCode.NOT_FOUND, "no such model")
    error = from_rpc_error(AioRpcError(code, Metadata(), Metadata(), details))  # as it arrives: without the trailers
    assert (type(error), str(error), error.param) == (NotFound, "no such model", "model")


async def test_a_cancelled_stream_closes_the_servicers_at_once():
    servicer = Gateway()
    stream = serve_methods([gateway(servicer)])["GenerateStream"](asked(), grpc_context=direct())
    await anext(stream)
    with pytest.raises(asyncio.CancelledError):
        await stream.athrow(asyncio.CancelledError())
    assert servicer.closed


async def test_requests_may_be_a_stream():
    servicing = Servicing(
        guardrails_grpc.add_GuardrailsServiceServicer_to_server,
        Guardrails(),
        "headrace.guardrails.v1.GuardrailsService",
    )

    async def pieces():
        for delta in ("x", "y"):
            yield guardrails_pb2.CheckStreamRequest(delta=delta)

    answers = serve_methods([servicing])["CheckStream"](pieces(), grpc_context=direct())
    assert [answer.text async for answer in answers] == ["x", "y"]


def test_marking_twice_changes_nothing_more():
    kind = context_class()
    mark_direct_calls(kind)
    made = kind.__init__
    mark_direct_calls(kind)
    assert kind.__init__ is made


async def test_the_lifespan_is_answered_and_requests_pass():
    seen, sent = [], []

    async def asgi(scope, receive, send):
        seen.append(scope["path"])

    app = WithoutLifespan(asgi)
    await app({"type": "http", "path": "/x"}, None, None)
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(events)

    async def send(event):
        sent.append(event["type"])

    await app({"type": "lifespan"}, receive, send)
    assert seen == ["/x"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_every_application_has_a_route_as_serve_gives_grpc_to_no_other():
    assert route_prefix("gateway") == "/"
    assert route_prefix("inference") == "/-/inference"
