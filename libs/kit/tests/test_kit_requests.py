"""Records of requests between a gateway and a reader of another age, and the spans that they come to."""

from __future__ import annotations

import msgspec
import pytest

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.request_spans import spans_of
from headrace_kit.telemetry.requests import VERSION, Hop, Request, Said, Unusable, packed, unpacked

TRACE, ROOT, STEP = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
REQUEST = Request(
    request_id="r1",
    trace_id=TRACE,
    span_id=ROOT,
    parent_span_id="",
    started_ns=10,
    ended_ns=20,
    tenant="red",
    model="assistant",
    operation="chat",
    attributes={"n": 1, "list": ["a", 2.5, True]},
    hops=[Hop("chat small", STEP, 11, 19, {genai.BILLED: True, genai.DEPLOYMENT: "small"})],
    said=Said([b"\x0a\x04user"], "", b"", {0: "yes"}),
)


def fields(record: Request) -> list:
    return msgspec.msgpack.decode(packed(record))


def test_a_record_comes_back_as_it_was():
    assert unpacked(packed(REQUEST)) == REQUEST


def test_fields_that_a_reader_does_not_know_yet_are_passed_over():
    newer = fields(REQUEST)
    hops, said = Request.__struct_fields__.index("hops"), Request.__struct_fields__.index("said")
    newer[hops][0] += ["more", {"of": ["it"]}]
    newer[said] += [{"what": b"comes"}]
    newer += ["later", [1]]
    assert unpacked(msgspec.msgpack.encode(newer)) == REQUEST


def test_fields_that_a_writer_did_not_know_yet_have_no_value():
    older = fields(REQUEST)[: Request.__struct_fields__.index("version") + 1]
    record = unpacked(msgspec.msgpack.encode(older))
    assert (record.trace_id, record.tenant, record.ended_ns) == (TRACE, "red", 20)
    assert (record.hops, record.attributes, record.said, record.model) == ([], {}, None, "")
    hop = unpacked(packed(REQUEST))
    hop.hops = []
    early = fields(hop)
    early[Request.__struct_fields__.index("hops")] = [["admit", STEP, 11]]
    assert unpacked(msgspec.msgpack.encode(early)).hops == [Hop("admit", STEP, 11)]


def test_a_version_that_a_reader_would_get_wrong_is_refused():
    newer = fields(REQUEST)
    newer[Request.__struct_fields__.index("version")] = VERSION + 1
    with pytest.raises(Unusable, match=f"version is {VERSION + 1}"):
        unpacked(msgspec.msgpack.encode(newer))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"\xc0",
        b"\x90",
        msgspec.msgpack.encode([1] * 40),
        b"\x91" * 100_000 + b"\xc0",
        packed(REQUEST)[:-3],
        packed(REQUEST) + b"\0",
        packed(REQUEST).replace(b"assistant", b"assist\xff\xfet"),
    ],
)
def test_what_is_no_record_is_unusable(raw):
    with pytest.raises(Unusable):
        unpacked(raw)


def test_the_root_and_a_span_a_step():
    root, step = spans_of(REQUEST)
    assert (root.name, root.kind, root.parent_span_id, root.error) == ("chat assistant", "server", "", "")
    assert root.attributes[genai.TENANT] == "red" and root.attributes["list"] == ["a", 2.5, True]
    assert (step.name, step.kind, step.parent_span_id) == ("chat small", "client", ROOT)
    assert step.attributes[genai.REQUEST_MODEL] == "small"
    assert (step.start_ns, step.end_ns) == (11, 19)
