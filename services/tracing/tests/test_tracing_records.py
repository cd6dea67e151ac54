"""The gateway's records over real gRPC, and what becomes of bad ones."""

from __future__ import annotations

import random

import grpc
import msgspec
import pytest
from grpc import aio

from headrace_kit.errors import BadInput
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import VERSION, Hop, Request, Said, packed
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.retrieval.v1.messages_pb2 import Passage
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest
from headrace_protos.tracing.v1.records_pb2_grpc import RecordServiceStub
from headrace_tracing.adapters.memory import MemorySpool
from headrace_tracing.domain.content import Content, Turn, cited
from headrace_tracing.domain.ingest import Ingest, IngestLimits
from headrace_tracing.domain.prepare import opened
from headrace_tracing.otlp_api.intake import MAX_EXPORT_BYTES, Intake
from headrace_tracing.otlp_api.records import decode_records, parse_records
from headrace_tracing.otlp_api.said import content_of
from headrace_tracing.otlp_api.server import RECORDS, OtlpServer


def request(trace: int = 1, **fields) -> Request:
    made = {
        "request_id": "r",
        "trace_id": f"{trace:032x}",
        "span_id": f"{trace:016x}",
        "parent_span_id": "",
        "started_ns": 10,
        "ended_ns": 20,
        "tenant": "red",
        "model": "assistant",
        "operation": "chat",
        "hops": [Hop("admit", f"{trace + 1000:016x}", 11, 12)],
    }
    return Request(**(made | fields))


def said(text: str) -> Said:
    return Said([Message(role="user", parts=[ContentPart(text=text)]).SerializeToString()])


def test_passages_have_what_the_answer_quotes_of_them():
    passages = [Passage(document_id="a", text="It rains. It pours."), Passage(document_id="b", text="Sun.")]
    made = content_of(
        Said(texts={0: "Rain."}, passages=[one.SerializeToString() for one in passages], quotes={1: ["It rains."]})
    )
    assert [one.quotes for one in made.passages] == [("It rains.",), ()]
    assert cited(made) == {1}
    assert cited(Content(output=(Turn("assistant", "Sun [2]."),))) == {2}
    assert made.mapped(str.upper).passages[0].quotes == ("IT RAINS.",)


class Forwarded:
    """Hears of spans that were accepted."""

    def __init__(self) -> None:
        self.spans = []

    def offer(self, spans) -> None:
        self.spans += spans


@pytest.fixture
def forwarded():
    return Forwarded()


@pytest.fixture
async def channel(store, metrics, preparation, forwarded):
    limits = IngestLimits(buffer_bytes=2000, retry_least_s=0.001, retry_most_s=0.01)
    ingest = Ingest(store, MemorySpool(room=1), metrics, limits)
    server = OtlpServer(Intake(ingest, preparation, metrics, forwarded), metrics)
    await ingest.start()
    await server.start("127.0.0.1", 0)
    made = aio.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)])
    yield made
    await made.close()
    await server.stop(0)
    await ingest.stop()


def take(channel, *records: bytes):
    return RecordServiceStub(channel).TakeRecords(TakeRecordsRequest(records=records))


async def test_records_become_spans_that_are_stored_and_forwarded(channel, store, forwarded, secret):
    answer = await take(channel, packed(request(said=said(f"it is {secret}"))), packed(request(2)))
    assert not answer.rejected
    root, step, *others = sorted(store.kept.values(), key=lambda span: (span.trace_id, span.start_ns))
    assert len(others) == 2
    assert (root.service, root.name, root.kind, root.tenant) == ("gateway", "chat assistant", "server", "red")
    assert root.content.input == (Turn("user", "it is [KNOWN]"),)
    assert (step.parent_span_id, step.name, step.kind) == (root.span_id, "admit", "internal")
    assert {span.span_id for span in forwarded.spans} == {span.span_id for span in store.kept.values()}
    await take(channel, packed(request(2)))
    assert len(store.kept) == 4, "sent again, it changes nothing"


async def test_what_guardrails_changed_is_kept_as_it_was_sent_sealed_alone(channel, store, forwarded, vault, secret):
    guarded = said("it is [MASKED]")
    guarded.sent = said(f"it is {secret}").messages
    for number, tenant in enumerate(("vaulted", "red", "silent"), 1):
        await take(channel, packed(request(number, tenant=tenant, said=guarded)))
    roots = {span.tenant: span for span in store.kept.values() if span.content or span.sealed}
    assert roots.keys() == {"vaulted", "red"}
    assert all(span.content.input == (Turn("user", "it is [MASKED]"),) for span in roots.values())
    assert opened(vault, roots["vaulted"]).input == (Turn("user", f"it is {secret}"),)
    assert not roots["red"].sealed
    assert secret not in str([*store.kept.values(), *forwarded.spans])


async def test_bad_records_are_refused_one_by_one(channel, store, registry):
    bad = [
        b"no record",
        packed(request(2, version=VERSION + 1)),
        packed(request(3, trace_id="0" * 32)),
        packed(request(4, span_id="short")),
        packed(request(5, started_ns=0)),
        packed(request(6, ended_ns=2**63)),
        packed(request(7, hops=[Hop("x", "xyz" * 5 + "q", 11)])),
        packed(request(8, said=Said([b"\xff\xff"]))),
    ]
    answer = await take(channel, packed(request()), *bad, packed(request(9)))
    assert answer.rejected == len(bad) and "bad record" in answer.message
    assert {int(span.trace_id, 16) for span in store.kept.values()} == {1, 9}
    rejected = registry.get_sample_value("headrace_tracing_spans_rejected_total", {"reason": "bad record"})
    assert rejected == len(bad)


async def test_a_record_of_a_newer_gateway_is_read_as_far_as_it_is_known(channel, store):
    newer = [*msgspec.msgpack.decode(packed(request())), "what comes later", {"and": 1}]
    assert not (await take(channel, msgspec.msgpack.encode(newer))).rejected
    assert len(store.kept) == 2


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"hello", b"\x0a\xff\xff\xff\xff\x0f"])
async def test_a_malformed_message_is_the_senders_fault(channel, store, body):
    with pytest.raises(aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{RECORDS}/TakeRecords")(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not store.kept


async def test_a_message_over_the_limit_is_refused_and_an_empty_one_is_fine(channel):
    with pytest.raises(aio.AioRpcError) as caught:
        await take(channel, bytes(MAX_EXPORT_BYTES + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not (await take(channel)).rejected


async def test_a_full_buffer_asks_the_gateway_to_come_again(channel, store):
    store.away = True
    large = packed(request(said=said("x" * 1500)))
    await take(channel, large)
    with pytest.raises(aio.AioRpcError) as caught:
        await take(channel, large)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "google.rpc.retryinfo-bin" in dict(caught.value.trailing_metadata())
    store.away = False


def test_strange_values_and_clocks_fail_nothing():
    deep: list = []
    for _ in range(40):
        deep = [deep]
    strange = {"endless": float("-inf"), "raw": b"\0\1", "deep": deep, "map": {"a": 1, "b": [None]}, "huge": 2**64 - 1}
    clock = request(attributes=strange, ended_ns=5, tenant="r\0ed", parent_span_id="AB" * 8)
    root, step = decode_records([packed(clock)]).spans
    assert (root.attributes["endless"], root.attributes["raw"]) == ("-inf", "AAE=")
    assert root.attributes["map"] == {"a": 1, "b": [None]} and root.attributes["huge"] == 2**64 - 1
    assert (root.start_ns, root.end_ns, root.tenant, root.parent_span_id) == (10, 10, "red", "ab" * 8)
    assert step.attributes[genai.TENANT] == "r\0ed", "redaction takes it out of attributes"


def test_random_bytes_are_bad_records_and_no_more():
    chance = random.Random(0)
    whole = packed(request(said=said("hello"), attributes={"a": [1, {"b": 2.5}]}))
    for number in range(2000):
        spoilt = bytearray(whole)
        for _ in range(1 + number % 5):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        decoded = decode_records([bytes(spoilt), whole])
        assert decoded.rejected.total() <= 1 and decoded.spans[-1].span_id == f"{1001:016x}"
        try:
            parse_records(chance.randbytes(number % 50))
        except BadInput:
            continue
