"""Spans to other systems: what they get, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from headrace_kit.config.traces import Forward
from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.forwarding import Forwarder, ForwardLimits, Receiver, Unwanted
from headrace_tracing.domain.normalise import normalised
from headrace_tracing.domain.spans import Span, SpanEvent
from headrace_tracing.metrics import Metrics
from headrace_tracing.otlp_api.decode import decode, parse
from headrace_tracing.otlp_api.encode import encode
from headrace_tracing.otlp_api.receivers import receivers


def span(number: int, tenant: str = "dev", **fields) -> Span:
    return Span(f"{number:032x}", f"{number:016x}", "", tenant, "gateway", f"chat {number}", "server", 10, 20, **fields)


class Inbox:
    """A receiver that does what it is told: `away` breaks the connection, `unwanted` refuses."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.does = ""
        self.tries = 0

    async def send(self, spans) -> None:
        self.tries += 1
        if self.does == "away":
            raise OSError("away")
        if self.does == "unwanted":
            raise Unwanted("no")
        self.batches.append([int(one.trace_id, 16) for one in spans])

    @property
    def got(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def forwarder(registry, inbox, tenants=(), **limits) -> Forwarder:
    given = ForwardLimits(**{"waiting": 10, "batch": 4, "retry_least_s": 0.005, "retry_most_s": 0.01, **limits})
    return Forwarder([Receiver("tempo", frozenset(tenants), inbox.send)], Metrics(registry), given)


def dropped(registry, reason: str) -> float:
    name = "headrace_tracing_forward_dropped_total"
    return registry.get_sample_value(name, {"receiver": "tempo", "reason": reason}) or 0.0


async def until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


async def test_spans_go_in_batches_and_in_their_order(registry, inbox):
    line = forwarder(registry, inbox)
    line.offer([span(number) for number in range(1, 10)])
    line.start()
    await until(lambda: len(inbox.got) == 9)
    await line.stop()
    assert inbox.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert registry.get_sample_value("headrace_tracing_spans_forwarded_total", {"receiver": "tempo"}) == 9


async def test_a_receiver_that_is_away_gets_them_when_it_is_back(registry, inbox):
    inbox.does = "away"
    line = forwarder(registry, inbox)
    line.start()
    line.offer([span(number) for number in range(1, 7)])
    await until(lambda: inbox.tries > 2)
    inbox.does = ""
    await until(lambda: len(inbox.got) == 6)
    await line.stop()
    assert inbox.got == [1, 2, 3, 4, 5, 6]


async def test_what_does_not_fit_is_dropped_the_oldest_first_and_counted(registry, inbox):
    inbox.does = "away"
    line = forwarder(registry, inbox)
    line.start()
    for number in range(1, 26):
        line.offer([span(number)])
        await asyncio.sleep(0)
    await until(lambda: inbox.tries > 2)
    inbox.does = ""
    await until(lambda: 25 in inbox.got)
    await line.stop()
    assert inbox.got == sorted(inbox.got)
    assert len(inbox.got) + dropped(registry, "full") == 25
    assert len(inbox.got) <= 10


async def test_what_a_receiver_refuses_is_not_sent_again(registry, inbox):
    inbox.does = "unwanted"
    line = forwarder(registry, inbox)
    line.start()
    line.offer([span(1), span(2)])
    await until(lambda: dropped(registry, "unwanted") == 2)
    inbox.does = ""
    line.offer([span(3)])
    await until(lambda: inbox.got == [3])
    await line.stop()


async def test_a_stop_sends_what_it_can_and_counts_the_rest(registry, inbox):
    line = forwarder(registry, inbox)
    line.start()
    line.offer([span(1)])
    await line.stop()
    assert inbox.got == [1]
    inbox.does = "away"
    line = forwarder(CollectorRegistry(), inbox)
    line.start()
    line.offer([span(2)])
    await until(lambda: inbox.tries > 1)
    await line.stop(within_s=0.05)
    assert inbox.got == [1]


async def test_a_receiver_gets_the_tenants_that_it_is_for(registry, inbox):
    line = forwarder(registry, inbox, tenants=["dev"])
    line.start()
    line.offer([span(1), span(2, "rival"), span(3, "")])
    await until(lambda: inbox.got == [1])
    await line.stop()


def test_what_is_forwarded_says_what_was_stored():
    content = Content(
        input=(Turn("user", "Why?"),),
        output=(Turn("assistant", "Because.", '[{"type":"tool_call","name":"look"}]'),),
        passages=(PassageSeen(1, "handbook", "a.md", "c", "A", "text", 0.5, 0, 4, 2),),
        options='{"sampling":{"temperature":0}}',
    )
    attributes = {
        "a": True, "b": 7, "c": 0.5, "d": "text", "e": ["x", 1], "f": {"g": {"h": 1}}, genai.TENANT: "dev",
    }  # fmt: skip
    sent = span(
        5,
        attributes=attributes,
        status="error",
        status_message="late",
        events=(SpanEvent("first_token", 15, {"n": 1}),),
        links=(("ab" * 16, "cd" * 8),),
    )
    sent = replace(sent, parent_span_id="ef" * 8, content=content)
    decoded = decode(parse(encode([sent, span(6)]).SerializeToString()))
    assert not decoded.rejected
    got = normalised(decoded.spans[0], ours=True)
    assert got.content == content
    assert replace(got, content=None, attributes={}) == replace(sent, content=None, attributes={})
    assert {name: got.attributes[name] for name in attributes} == attributes
    assert decoded.spans[1].trace_id == f"{6:032x}"


@contextmanager
def collector(statuses):
    """A real HTTP server that answers as told; yields its address and what it got."""
    got: list[tuple[str, dict, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = statuses.pop(0) if statuses else 200
            if status == 200:
                got.append((self.path, dict(self.headers), body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *given) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_collector_gets_packed_protobuf_with_its_headers_after_a_refusal_for_now(registry):
    with collector([503, 429]) as (url, got):
        wanted = Forward(url=url, headers={"authorization": {"secret": "collector-token"}, "x-scope": "ai"})
        made = receivers([wanted], {"collector-token": "Bearer abc\n"}.__getitem__)
        line = Forwarder(made, Metrics(registry), ForwardLimits(retry_least_s=0.005, retry_most_s=0.01))
        line.start()
        line.offer([span(1), span(2)])
        await until(lambda: got)
        await line.stop()
    path, headers, body = got[0]
    assert path == "/v1/traces"
    assert (headers["authorization"], headers["x-scope"]) == ("Bearer abc", "ai")
    assert headers["content-type"] == "application/x-protobuf"
    assert [one.name for one in decode(parse(gzip.decompress(body))).spans] == ["chat 1", "chat 2"]


async def test_a_collector_that_refuses_for_good_is_not_asked_again(registry):
    with collector([400]) as (url, got):
        made = receivers([Forward(url=url)], {}.__getitem__)
        line = Forwarder(made, Metrics(registry), ForwardLimits(retry_least_s=0.005))
        line.start()
        line.offer([span(1)])
        await until(
            lambda: registry.get_sample_value(
                "headrace_tracing_forward_dropped_total", {"receiver": "127.0.0.1", "reason": "unwanted"}
            )
        )
        await line.stop()
    assert got == []


@pytest.mark.parametrize("url", ["tempo:4318", "ftp://tempo/v1/traces", "http://tempo:4318"])
def test_an_address_without_its_path_is_refused_at_validation(url):
    with pytest.raises(ValueError, match="path included"):
        Forward(url=url)
