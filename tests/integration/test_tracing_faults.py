"""Tracing without its database, without room, and killed: real processes."""

from __future__ import annotations

import asyncio
import random
import urllib.request

import psutil
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode, aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import Request, packed
from headrace_protos.tracing.v1 import records_pb2, records_pb2_grpc
from tests.integration.tracing_reading import otlp, reader

__all__ = ["otlp", "reader"]

SERVICES = ("tracing",)
ROOM = 40_000
CONFIG = f"""
tenants: {{red: {{}}}}
services: {{tracing: {{disk_buffer_bytes: {ROOM}}}}}
"""


def export(trace: int, *, spans: int = 3, text: str = "") -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    made = request.resource_spans.add()
    made.resource.attributes.add(key=genai.TENANT).value.string_value = "red"
    for number in range(1, spans + 1):
        span = made.scope_spans.add().spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name=f"span {number}",
            start_time_unix_nano=1_700_000_000 * 10**9 + number,
            end_time_unix_nano=1_700_000_001 * 10**9,
        )
        span.attributes.add(key="text").value.string_value = text
    return request


@pytest.fixture
async def exporter(otlp):
    async with aio.insecure_channel(otlp) as channel:
        yield trace_service_pb2_grpc.TraceServiceStub(channel)


def metric(part, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{part.platform.port('tracing-ops')}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


async def sent(exporter, request) -> None:
    """Send it as exporters do: a connection that broke is no answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                await exporter.Export(request, timeout=60, wait_for_ready=True)
                return
            except aio.AioRpcError as error:
                if error.code() is not StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)


def killed(part) -> None:
    """Kill -9, and wait for the next process."""
    restarts = part.platform.status().units["tracing"].restarts
    part.platform.kill("tracing")
    part.platform.wait_ready("tracing", restarts=restarts + 1)


async def test_what_was_acknowledged_is_there_after_kill_9(part, exporter, reader):
    for trace in range(101, 121):
        await sent(exporter, export(trace))
        if trace == 110:
            killed(part)
    killed(part)
    for trace in range(101, 121):
        assert len((await reader.until(f"{trace:032x}", "red", 3)).spans) == 3


async def test_without_the_database_spans_wait_on_disk_and_survive_kill_9(part, exporter, otlp, reader):
    secret = "sk-proj-A8f3kLmQ29xVb7TzR4wYc1Ns"
    part.platform.stop_unit("postgres")
    try:
        for trace in range(201, 206):
            await sent(exporter, export(trace, text=f"the key is {secret}"))
        record = Request("r", f"{210:032x}", f"{210:016x}", "", 10**18, 10**18 + 1, "red")
        async with aio.insecure_channel(otlp) as channel:
            take = records_pb2_grpc.RecordServiceStub(channel).TakeRecords
            await take(records_pb2.TakeRecordsRequest(records=[packed(record)]), timeout=60)
        folder = part.platform.layout.data_dir / "tracing" / "spool"
        assert secret.encode() not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        killed(part)
        for trace in range(206, 209):
            await sent(exporter, export(trace))
        assert metric(part, "headrace_tracing_disk_spans") >= 24, "some are its own"
    finally:
        part.platform.start_unit("postgres")
    for trace in range(201, 209):
        assert len((await reader.until(f"{trace:032x}", "red", 3)).spans) == 3
    await reader.until(record.trace_id, "red", 1)
    async with asyncio.timeout(60):
        while metric(part, "headrace_tracing_disk_bytes"):
            await asyncio.sleep(0.1)
    assert not list(folder.rglob("*.spans"))


async def test_without_room_senders_are_told_to_come_again_and_the_loss_is_counted(part, exporter, reader):
    part.platform.stop_unit("postgres")
    kept, lost = [], []
    # Text of no pattern, so that a few fill the room although they are packed.
    chance = random.Random(0)
    texts = iter(" ".join("".join(chance.choices("abcdefghijklmn", k=5)) for _ in range(1500)) for _ in range(100))
    try:
        before = metric(part, 'headrace_tracing_spans_refused_total{reason="buffer_full"}')
        for trace in range(301, 341):
            try:
                await exporter.Export(export(trace, text=next(texts)), timeout=60)
                kept.append(trace)
            except aio.AioRpcError as error:
                lost.append(trace)
                assert error.code() is StatusCode.UNAVAILABLE
                [packed] = [value for key, value in error.trailing_metadata() if key == "google.rpc.retryinfo-bin"]
                assert RetryInfo.FromString(packed).retry_delay.ToMilliseconds() > 0
        assert kept and lost
        refused = metric(part, 'headrace_tracing_spans_refused_total{reason="buffer_full"}') - before
        assert refused == 3 * len(lost)
        assert metric(part, "headrace_tracing_disk_bytes") <= ROOM
    finally:
        part.platform.start_unit("postgres")
    for trace in kept:
        await reader.until(f"{trace:032x}", "red", 3)
    await sent(exporter, export(lost[0]))
    await reader.until(f"{lost[0]:032x}", "red", 3)
    assert psutil.Process(part.platform.status().units["tracing"].pid).is_running()
