"""The OTLP receiver over real gRPC, and what it makes of strange messages."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1 import trace_pb2

from headrace_kit.errors import BadInput
from headrace_kit.telemetry import genai
from headrace_tracing.adapters.memory import MemorySpool
from headrace_tracing.domain.ingest import Ingest, IngestLimits
from headrace_tracing.otlp_api.decode import decode, parse
from headrace_tracing.otlp_api.intake import MAX_EXPORT_BYTES, Intake
from headrace_tracing.otlp_api.server import SERVICE, OtlpServer


def export(*spans: trace_pb2.Span, **resource: str) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(
        KeyValue(key=key.replace("__", "."), value=AnyValue(string_value=value)) for key, value in resource.items()
    )
    of_resource.scope_spans.add().spans.extend(spans)
    return request


def sent(**fields) -> trace_pb2.Span:
    return trace_pb2.Span(
        **{
            "trace_id": b"\1" * 16,
            "span_id": b"\2" * 8,
            "name": "x",
            "start_time_unix_nano": 10,
            "end_time_unix_nano": 20,
            **fields,
        }
    )


@pytest.fixture
async def otlp(store, metrics, preparation):
    limits = IngestLimits(buffer_bytes=2000, retry_least_s=0.001, retry_most_s=0.01)
    ingest = Ingest(store, MemorySpool(room=1), metrics, limits)
    server = OtlpServer(Intake(ingest, preparation, metrics), metrics)
    await ingest.start()
    await server.start("127.0.0.1", 0)
    channel = aio.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)])
    yield channel
    await channel.close()
    await server.stop(0)
    await ingest.stop()


def raw(channel):
    return channel.unary_unary(f"/{SERVICE}/Export")


async def test_good_spans_are_stored_and_bad_ones_are_told(otlp, store):
    good = sent()
    answer = await trace_service_pb2_grpc.TraceServiceStub(otlp).Export(
        export(good, sent(span_id=b"\0" * 8), sent(trace_id=b"short"), sent(start_time_unix_nano=0), service__name="gw")
    )
    assert answer.partial_success.rejected_spans == 3
    assert "bad time" in answer.partial_success.error_message
    (span,) = store.kept.values()
    assert (span.service, span.trace_id, span.end_ns) == ("gw", "01" * 16, 20)


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"hello", b"\x0a\xff\xff\xff\xff\x0f"])
async def test_a_malformed_export_is_the_senders_fault(otlp, store, body):
    with pytest.raises(aio.AioRpcError) as caught:
        await raw(otlp)(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not store.kept


async def test_invalid_utf8_is_malformed(otlp):
    body = export(sent(name="ab")).SerializeToString().replace(b"\x2a\x02ab", b"\x2a\x02\xff\xfe")
    with pytest.raises(aio.AioRpcError) as caught:
        await raw(otlp)(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_export_over_the_limit_is_refused_packed_or_not(otlp):
    for compression in (None, grpc.Compression.Gzip):
        with pytest.raises(aio.AioRpcError) as caught:
            await raw(otlp)(bytes(MAX_EXPORT_BYTES + 1), compression=compression)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_gzip_and_nothing_at_all_are_fine(otlp, store):
    stub = trace_service_pb2_grpc.TraceServiceStub(otlp)
    await stub.Export(export(sent()), compression=grpc.Compression.Gzip)
    assert len(store.kept) == 1
    assert not (await stub.Export(export())).partial_success.rejected_spans


async def test_a_full_buffer_asks_the_exporter_to_come_again(otlp, store):
    store.away = True
    stub = trace_service_pb2_grpc.TraceServiceStub(otlp)
    large = export(sent(name="x" * 1500))
    await stub.Export(large)
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Export(large)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "google.rpc.retryinfo-bin" in dict(caught.value.trailing_metadata())
    store.away = False
    async with asyncio.timeout(30):
        while True:
            try:
                await stub.Export(large)
                break
            except aio.AioRpcError:
                await asyncio.sleep(0.01)
    assert len(store.kept) == 1


def test_the_tenant_is_the_spans_or_else_the_resources():
    own = sent(attributes=[KeyValue(key=genai.TENANT, value=AnyValue(string_value="red"))])
    decoded = decode(export(own, sent(), headrace__tenant="blue"))
    assert [span.tenant for span in decoded.spans] == ["red", "blue"]


def test_every_sort_of_value_is_kept():
    values = {
        "text": AnyValue(string_value="é"),
        "whole": AnyValue(int_value=-(2**63)),
        "real": AnyValue(double_value=0.5),
        "endless": AnyValue(double_value=float("inf")),
        "yes": AnyValue(bool_value=True),
        "raw": AnyValue(bytes_value=b"\0\1"),
        "list": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])),
        "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(int_value=1))])),
        "empty": AnyValue(),
    }
    span = sent(attributes=[KeyValue(key=key, value=value) for key, value in values.items()])
    assert decode(export(span)).spans[0].attributes == {
        "text": "é",
        "whole": -(2**63),
        "real": 0.5,
        "endless": "inf",
        "yes": True,
        "raw": "AAE=",
        "list": [1],
        "map": {"a": 1},
        "empty": None,
    }


@pytest.mark.parametrize(
    ("fields", "rejected"),
    [
        ({"end_time_unix_nano": 5}, 0),
        ({"end_time_unix_nano": 0}, 0),
        ({"end_time_unix_nano": 2**64 - 1}, 1),
        ({"start_time_unix_nano": 2**63}, 1),
        ({"kind": 77, "status": trace_pb2.Status(code=77)}, 0),
        ({"parent_span_id": b"\0" * 8}, 0),
        ({"parent_span_id": b"long parent id"}, 0),
        ({"events": [trace_pb2.Span.Event(time_unix_nano=2**64 - 1)]}, 0),
    ],
)
def test_strange_spans_never_fail_the_others(fields, rejected):
    decoded = decode(export(sent(**fields), sent(span_id=b"\3" * 8)))
    assert decoded.rejected.total() == rejected
    for span in decoded.spans:
        assert span.end_ns >= span.start_ns
        assert span.parent_span_id == ""


def test_random_bytes_are_bad_input_or_nothing():
    for size in range(200):
        body = bytes((size * 31 + place * 17) % 256 for place in range(size))
        try:
            decode(parse(body))
        except BadInput:
            continue


async def test_a_port_that_is_taken_is_used_once_it_is_free(store, metrics, preparation):
    ingest = Ingest(store, MemorySpool(), metrics)
    older, newer = (OtlpServer(Intake(ingest, preparation, metrics), metrics) for _ in range(2))
    await ingest.start()
    await older.start("127.0.0.1", 0)
    await newer.start("127.0.0.1", older.port)
    assert "in use" in newer.problems()[0]
    await older.stop(0)
    async with asyncio.timeout(30):
        while newer.problems():
            await asyncio.sleep(0.05)
    async with aio.insecure_channel(f"127.0.0.1:{newer.port}") as channel:
        await trace_service_pb2_grpc.TraceServiceStub(channel).Export(export(sent()))
    assert len(store.kept) == 1
    await newer.stop(0)
    await ingest.stop()
