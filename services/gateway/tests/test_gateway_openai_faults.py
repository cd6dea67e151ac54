"""Endpoints outside that refuse, fail and misbehave: a real server that does it, and what comes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from pathlib import Path

import pytest

from headrace_gateway.adapters.engines import Engines
from headrace_gateway.adapters.openai_http.fake import (
    DONE,
    SECRET,
    STREAM,
    Endpoint,
    Outside,
    Served,
    asked,
    chunked,
    completion,
    delta,
    event,
    fails,
    response,
    says,
    then_nothing,
)
from headrace_kit.errors import BadInput, Busy, DeadlineExceeded, HeadraceError, TooLarge, Upstream


@pytest.mark.parametrize(
    ("status", "error", "kind", "code"),
    [
        ("400 Bad", {"code": "context_length_exceeded", "message": SECRET}, BadInput, "context_length_exceeded"),
        ("400 Bad", {"code": "unsupported_value", "param": "seed"}, BadInput, "unsupported_value"),
        ("400 Bad", {"code": SECRET, "param": f"{SECRET} {SECRET}", "message": SECRET}, BadInput, "invalid_request"),
        ("401 No", {"message": f"Incorrect API key provided: {SECRET}"}, Upstream, "engine_auth"),
        ("402 Pay", {}, Upstream, "engine_quota"),
        ("404 Not Found", {}, Upstream, "engine_no_model"),
        ("413 Large", {}, TooLarge, "request_too_large"),
        ("429 Slow", {"code": "insufficient_quota"}, Upstream, "engine_quota"),
        ("429 Slow", {"code": "rate_limit_exceeded"}, Busy, "engine_busy"),
        ("500 Oops", {"message": SECRET}, Upstream, "engine_failed"),
        ("503 Busy", {}, Busy, "engine_busy"),
        ("302 Found", {}, Upstream, "engine_failed"),
        ("204 Nothing", {}, Upstream, "engine_failed"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_refusals(
    outside: Outside, endpoint: Endpoint, status: str, error: dict[str, str], kind: type[HeadraceError], code: str,
    whole: bool,
) -> None:  # fmt: skip
    endpoint.act = says(response(json.dumps({"error": error}).encode(), status), close=True)
    await fails(outside, kind, code, whole=whole)


async def test_a_full_endpoint_says_when_to_come_back(outside: Outside, endpoint: Endpoint) -> None:
    for sent, expected in (("7", 7.0), ("1e9", 3600.0), ("nan", 1.0), ("soon", 1.0), ("-3", 0.0)):
        endpoint.act = says(response(b"not json", "429 Slow down", retry_after=sent))
        error = await fails(outside, Busy, "engine_busy")
        assert error.retry_after_s == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"message": "secret", "code": 429}}', "engine_busy"),
        (b'{"error": {"type": "invalid_request_error", "code": "unsupported_value"}}', "unsupported_value"),
        (b'{"error": "broken"}', "engine_failed"),
        (b'{"choices": [], "usage": {}}', "engine_failed"),
        (b'{"choices": [{"index": 0, "message": {"content": "hi"}, "fini', "engine_failed"),
        (b'{"choices": [{"index": 0, "message": {"content": "hi"}}]}', "engine_failed"),
        (b'{"choices": [{"index": 3, "message": {"content": "hi"}, "finish_reason": "stop"}]}', "engine_failed"),
        (b'{"choices": "many"}', "engine_failed"),
        (b"[" * 100_000, "engine_failed"),
        (b"\xff\xfe", "engine_failed"),
        (b"", "engine_failed"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_status_of_200_with_something_else_inside(
    outside: Outside, endpoint: Endpoint, body: bytes, code: str, whole: bool
) -> None:
    endpoint.act = says(response(body))
    with pytest.raises(HeadraceError) as caught:
        await outside.ask(whole=whole)
    if not whole and code not in ("engine_busy", "unsupported_value"):
        code = "engine_failed"  # no stream at all
    assert caught.value.code == code


@pytest.mark.parametrize(
    "pieces",
    [
        [delta("hi"), event(error={"message": "secret", "code": 500}), DONE],
        [delta("hi"), event(error={"type": "invalid_request_error"}), DONE],
        [delta("hi"), DONE],
        [delta("hi")],
        [delta("hi"), b"data: {garbage\n\n"],
        [delta("hi"), b"data: \xff\xfe\n\n"],
        [delta("hi"), delta(finish="stop"), delta("more")],
        [delta("hi"), delta(finish="error")],
        [delta("hi"), event(choices=[{"index": 7, "delta": {"content": "x"}}])],
        [b"data: " + b"x" * (5 << 20)],
    ],
)
async def test_a_stream_that_goes_wrong(outside: Outside, endpoint: Endpoint, pieces: list[bytes]) -> None:
    endpoint.act = says(STREAM + chunked(*pieces))
    await fails(outside, Upstream, "engine_failed", whole=False)


async def test_a_stream_that_begins_with_an_error(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(STREAM + chunked(event(error={"code": "rate_limit_exceeded", "message": SECRET}), DONE))
    await fails(outside, Busy, "engine_busy", whole=False)


async def test_a_stream_without_done_or_usage_is_whole_with_its_finish(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(STREAM + chunked(delta("hi"), delta(finish="stop")))
    assert (await outside.ask(whole=False))[-1].finish_reason == "stop"
    body = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + delta("hi") + delta(finish="stop")
    endpoint.act = says(body, close=True)
    assert (await outside.ask(whole=False))[-1].finish_reason == "stop"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"220 smtp.example ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n",
        STREAM + chunked(delta("hi"), end=False),
        STREAM + b"zz\r\nnot a length\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_a_connection_that_breaks(outside: Outside, endpoint: Endpoint, data: bytes, whole: bool) -> None:
    endpoint.act = says(data, close=True)
    await fails(outside, Upstream, "engine_failed", whole=whole)
    endpoint.act = says(response(completion()))
    assert await outside.ask()  # and the next one has a connection of its own
    assert endpoint.connections == 2


async def test_a_reset(outside: Outside, endpoint: Endpoint) -> None:
    async def act(_: Served, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(delta("hi"), end=False))
        await writer.drain()
        writer.transport.abort()

    endpoint.act = act
    await fails(outside, Upstream, "engine_failed", whole=False)


async def test_a_body_that_is_longer_than_said_does_not_reach_the_next_request(
    outside: Outside, endpoint: Endpoint
) -> None:
    endpoint.act = says(response(completion("one")) + response(completion("stolen")))
    assert (await outside.ask())[0].text == "one"
    endpoint.act = says(response(completion("two")))
    assert (await outside.ask())[0].text == "two"
    assert endpoint.connections == 2


async def test_compressed_answers_are_refused(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(response(gzip.compress(completion()), content_encoding="gzip"))
    error = await fails(outside, Upstream, "engine_failed")
    assert "compressed" in error.message
    assert endpoint.served[0].headers["accept-encoding"] == "identity"


async def test_informational_responses_are_passed_over(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + response(completion()))
    assert (await outside.ask())[0].text == "hi you"


async def test_a_connection_that_is_to_close_is_not_used_again(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(response(completion(), connection="close"))
    await outside.ask()
    await outside.ask()
    assert endpoint.connections == 2


async def test_no_first_byte_in_time(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(first_byte_timeout=0.05)
    endpoint.act = then_nothing(b"")
    for whole in (True, False):
        await fails(outside, Upstream, "engine_timeout", whole=whole)
    await asyncio.wait_for(endpoint.lost.wait(), 5)


async def test_a_stall_in_the_middle_of_a_token(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(idle_timeout=0.05)
    endpoint.act = then_nothing(STREAM + chunked(delta("hi"), b'data: {"choi', end=False))
    seen = []
    with pytest.raises(Upstream) as caught:
        async for chunk in outside.engines.generate(asked(), outside.sent(), whole=False):
            seen.append(chunk.text)
    assert (seen, caught.value.code) == (["hi"], "engine_timeout")
    await asyncio.wait_for(endpoint.lost.wait(), 5)


async def test_the_callers_deadline(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = says(response(completion()))
    await outside.ask()  # its timer, far off, must not hide the nearer limit
    endpoint.act = then_nothing(STREAM + chunked(delta("hi"), end=False))
    for whole in (True, False):
        await fails(outside, DeadlineExceeded, "deadline_exceeded", whole=whole, deadline=time.monotonic() + 0.05)


async def test_who_leaves_closes_the_connection(outside: Outside, endpoint: Endpoint) -> None:
    endpoint.act = then_nothing(STREAM + chunked(delta("hi"), end=False))
    chunks = outside.engines.generate(asked(), outside.sent(), whole=False)
    assert (await anext(chunks)).text == "hi"
    await chunks.aclose()
    await asyncio.wait_for(endpoint.lost.wait(), 5)
    endpoint.lost.clear()
    task = asyncio.create_task(outside.ask())
    while len(endpoint.served) < 2:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(endpoint.lost.wait(), 5)


async def test_a_slow_reader_holds_the_endpoint_back(outside: Outside, endpoint: Endpoint) -> None:
    sent = 0

    async def act(_: Served, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM)
        for _ in range(800):
            writer.write(chunked(delta("x" * 20_000), end=False))
            await writer.drain()
            sent += 1
        writer.write(chunked(delta(finish="stop"), DONE))

    endpoint.act = act
    chunks = outside.engines.generate(asked(), outside.sent(), whole=False)
    seen = len((await anext(chunks)).text)
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 800
    async for chunk in chunks:
        seen += len(chunk.text)
    assert seen == 800 * 20_000


async def test_a_full_deployment_is_refused(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(max_in_flight=1)
    endpoint.act = then_nothing(STREAM + chunked(delta("hi"), end=False))
    chunks = outside.engines.generate(asked(), outside.sent(), whole=False)
    await anext(chunks)
    await fails(outside, Busy, "engine_busy")
    await chunks.aclose()
    endpoint.act = says(response(completion()))
    assert await outside.ask()


async def test_nobody_there(outside: Outside) -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    outside.configure(address=f"http://127.0.0.1:{port}/v1")
    await fails(outside, Upstream, "engine_unreached")


async def test_a_server_that_does_not_speak_tls(outside: Outside, endpoint: Endpoint) -> None:
    outside.configure(address=outside.address.replace("http:", "https:"))
    await fails(outside, Upstream, "engine_unreached")


async def test_tls(endpoint: Endpoint, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=context)
    endpoint.port = server.sockets[0].getsockname()[1]
    made = Outside(endpoint, tmp_path)
    made.configure(address=f"https://localhost:{endpoint.port}")
    endpoint.act = says(response(completion()))
    await fails(made, Upstream, "engine_unreached")  # nobody vouches for it
    made.engines = Engines(
        made.inside, made.configs, made.secrets, lambda: ssl.create_default_context(cafile=str(certificate[0]))
    )
    assert (await made.ask())[0].text == "hi you"
    assert endpoint.served[0].path == "/chat/completions"
    made.engines.close()
    server.close()
