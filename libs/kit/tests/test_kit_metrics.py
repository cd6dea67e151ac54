"""Metrics as OTLP receivers get them, over real gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from grpc import aio
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.config.ports import SERVICES
from headrace_kit.hosting import ServiceRuntime
from headrace_kit.rpc.identity import write_keys
from headrace_kit.telemetry.measures import MEASURES, OPERATION_DURATION, TOKEN_USAGE
from headrace_kit.telemetry.metrics import MetricsExport
from headrace_kit.telemetry.tracing import resource_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Receiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self) -> None:
        self.got = []

    async def Export(self, request, context):
        self.got.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def metric(self, name: str) -> Metric:
        [found] = [
            metric for metric in self.got[-1].resource_metrics[0].scope_metrics[0].metrics if metric.name == name
        ]
        return found


@pytest.fixture
async def receiving():
    receiver, server = Receiver(), aio.server()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield receiver, f"127.0.0.1:{port}"
    await server.stop(None)


@asynccontextmanager
async def exporting(registry: CollectorRegistry, address: str):
    export = MetricsExport(registry, resource_of("gateway"), address, 3600)
    yield export
    await export.stop()


def said(attributes) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in attributes}


async def test_histograms_of_the_conventions_go_out_under_their_names_with_examples(receiving):
    receiver, address = receiving
    registry = CollectorRegistry()
    seconds = Histogram(
        OPERATION_DURATION.prometheus_name, "", OPERATION_DURATION.labels, registry=registry,
        buckets=OPERATION_DURATION.bounds,
    )  # fmt: skip
    call = seconds.labels("chat", "triton-llamacpp", "small", "")
    call.observe(0.015)
    call.observe(0.3, {"trace_id": TRACE, "span_id": SPAN})
    call.observe(500)
    async with exporting(registry, address) as export:
        await export.export()
    assert said(receiver.got[0].resource_metrics[0].resource.attributes)["service.name"] == "gateway"
    told = receiver.metric("gen_ai.client.operation.duration")
    assert told.unit == "s"
    assert told.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    [point] = told.histogram.data_points
    assert said(point.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "triton-llamacpp",
        "gen_ai.request.model": "small",
    }
    assert tuple(point.explicit_bounds) == OPERATION_DURATION.bounds
    assert (point.count, point.sum) == (3, pytest.approx(500.315))
    filled = {place: count for place, count in enumerate(point.bucket_counts) if count}
    assert filled == {1: 1, 5: 1, len(OPERATION_DURATION.bounds): 1}
    assert not point.HasField("min") and not point.HasField("max")
    [example] = point.exemplars
    assert (example.trace_id.hex(), example.span_id.hex(), example.as_double) == (TRACE, SPAN, 0.3)


async def test_what_is_ours_goes_out_as_prometheus_has_it(receiving):
    receiver, address = receiving
    registry = CollectorRegistry()
    Counter("headrace_gateway_requests", "Requests.", ("route",), registry=registry).labels("/v1").inc(3)
    Gauge("headrace_gateway_in_flight", "Now.", registry=registry).set(2)
    Info("headrace_gateway_running", "What.", registry=registry).info({"track": "stable"})
    async with exporting(registry, address) as export:
        await export.export()
        counted = receiver.metric("headrace_gateway_requests").sum
        [point] = counted.data_points
        assert counted.is_monotonic and (point.as_double, said(point.attributes)) == (3, {"route": "/v1"})
        assert [point.as_double for point in receiver.metric("headrace_gateway_in_flight").gauge.data_points] == [2]
        [running] = receiver.metric("headrace_gateway_running").gauge.data_points
        assert said(running.attributes) == {"track": "stable"}


async def test_the_last_counts_are_sent_at_the_end(receiving):
    receiver, address = receiving
    registry = CollectorRegistry()
    counter = Counter("headrace_gateway_requests", "Requests.", registry=registry)
    async with exporting(registry, address):
        counter.inc(7)
    assert [point.as_double for point in receiver.metric("headrace_gateway_requests").sum.data_points] == [7]


async def test_a_service_sends_its_metrics_where_the_config_says_so(receiving, tmp_path):
    receiver, address = receiving
    write_keys(tmp_path / "secrets" / "signing", SERVICES)
    for telemetry in ("{}", f"{{metrics_otlp_address: '{address}'}}"):
        snapshot = Snapshot(parse(f"telemetry: {telemetry}"), tmp_path / "headrace.yaml")
        runtime = ServiceRuntime("gateway", Environment(data_dir=tmp_path), ConfigStore(snapshot))
        Counter("headrace_gateway_tried", "Tries.", registry=runtime.registry).inc()
        runtime.start()
        await runtime.close()
    names = {metric.name for metric in receiver.got[-1].resource_metrics[0].scope_metrics[0].metrics}
    assert "headrace_gateway_tried" in names
    assert "headrace_gateway_rpc_seconds" not in names, "no call was served"
    assert all(
        said(of.resource.attributes)["service.name"] == "gateway" for got in receiver.got for of in got.resource_metrics
    )


async def test_a_receiver_that_is_away_is_told_of_once_and_is_no_error(caplog):
    registry = CollectorRegistry()
    Counter("headrace_gateway_requests", "Requests.", registry=registry)
    export = MetricsExport(registry, resource_of("gateway"), "127.0.0.1:1", 3600, within_s=0.1)
    await export.export()
    await export.export()
    await export.stop()
    assert [record.getMessage().split(";")[0] for record in caplog.records if record.name.startswith("headrace")] == [
        "127.0.0.1:1 does not take metrics"
    ]


def test_names_for_prometheus_are_those_of_opentelemetrys_rules():
    assert [measure.prometheus_name for measure in MEASURES] == [
        "gen_ai_client_operation_duration_seconds",
        "gen_ai_client_token_usage",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
    ]
    assert TOKEN_USAGE.bounds[:4] == (1, 4, 16, 64) and TOKEN_USAGE.bounds[-1] == 67_108_864
    assert "gen_ai_token_type" in TOKEN_USAGE.labels
