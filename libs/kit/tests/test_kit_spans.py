"""Spans of the platform carry their tenant, and reach a receiver that is in the same process."""

from __future__ import annotations

import asyncio
import socket

import pytest
from grpc import aio
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.config.rollouts import Step
from headrace_kit.config.services import Tracing
from headrace_kit.hosting import ServiceApp, ServiceRuntime
from headrace_kit.hosting.process import ProcessHost
from headrace_kit.telemetry.genai import TENANT


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans = {}

    async def Export(self, request, context):
        for of_resource in request.resource_spans:
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.spans[span.name] = {pair.key: pair.value.string_value for pair in span.attributes}
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_a_service_that_receives_its_own_spans_has_them_before_it_stops(tmp_path):
    receiver, server = Receiver(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    seen_at_stop = []

    async def stop() -> None:
        seen_at_stop.extend(receiver.spans)
        await server.stop(0)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"{{grpc_port: 0, ops_port: {free.getsockname()[1]}}}"
    config = parse(f"telemetry: {{otlp_address: '127.0.0.1:{port}'}}\nservices: {{tracing: {{listen: {listen}}}}}")
    store = ConfigStore(Snapshot(config, tmp_path / "headrace.yaml"))
    runtime = ServiceRuntime("tracing", Environment(data_dir=tmp_path), store)
    host = ProcessHost(runtime, ServiceApp("tracing", [], start=server.start, stop=stop))
    await host.start()
    with runtime.tracer.start_as_current_span("request", attributes={TENANT: "red"}):
        with runtime.tracer.start_as_current_span("inside"):
            with runtime.tracer.start_as_current_span("deeper", attributes={TENANT: "blue"}):
                pass
    runtime.tracer.start_span("alone", context=trace.set_span_in_context(trace.INVALID_SPAN)).end()
    async with asyncio.timeout(60):
        await host.stop()
        await runtime.close()
    assert sorted(seen_at_stop) == ["alone", "deeper", "inside", "request"]
    assert {name: attributes.get(TENANT) for name, attributes in receiver.spans.items()} == {
        "request": "red",
        "inside": "red",
        "deeper": "blue",
        "alone": None,
    }


@pytest.mark.parametrize("written", ["14d", "90s", "1.5s", "100ms", "0s", 900, "12345678s"])
def test_durations_are_written_so_that_they_can_be_read_back(written):
    step = Step(weight="5%", at_least=written)
    assert Step.model_validate(step.model_dump(mode="json")) == step
    assert Tracing().model_dump(mode="json")["retention"] == "1209600s"


def test_an_endless_duration_is_refused():
    with pytest.raises(ValueError, match="at_least"):
        Step(weight="5%", at_least=float("inf"))
