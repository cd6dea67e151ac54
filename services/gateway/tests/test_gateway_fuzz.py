"""Whatever comes over a socket: an answer that is not our fault, or the connection's end; and the gateway serves on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace_gateway.fakes import Script
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_kit.hosting.http import HttpLimits, HttpServer

HI = b'{"model":"plain","messages":[{"role":"user","content":"hi"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer hr_dev\r\n"
FUZZ = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@contextlib.asynccontextmanager
async def gateway(rig, **limits):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = HttpServer(RsgiFace(rig.application()).__rsgi__, "127.0.0.1", port, HttpLimits(**limits))
    await server.start()
    try:
        yield port
        assert await well(port)
        await until(lambda: rig.in_flight.total == 0)
        assert not [left for left in rig.left if left.error == "internal_error"]
    finally:
        await server.stop()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def well(port):
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            f"http://127.0.0.1:{port}/v1/chat/completions", content=HI, headers={"authorization": "Bearer hr_dev"}
        )
    return answer.status_code == 200


async def send(port, raw, *, end=True):
    """Everything that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    back = b""
    try:
        async with asyncio.timeout(30):
            with contextlib.suppress(OSError):
                writer.write(raw)
                await writer.drain()
                if end:
                    writer.write_eof()
            with contextlib.suppress(OSError):
                while got := await reader.read(65_536):
                    back += got
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return back


def statuses(back):
    """Of the answers in `back`."""
    found = []
    for part in back.split(b"HTTP/1.1 ")[1:]:
        found.append(int(part[:3]))
    return found


def body(content, *more):
    return HEAD + b"".join(more) + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(content) + content


MALFORMED = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "bare line feeds": b"GET /v1/models HTTP/1.1\nhost: a\nconnection: close\n\n",
    "no version": b"GET /v1/models\r\n\r\n",
    "version from the future": b"GET /v1/models HTTP/9.9\r\nhost: a\r\n\r\n",
    "old version": b"GET /v1/models HTTP/1.0\r\n\r\n",
    "an empty name": b"GET /v1/models HTTP/1.1\r\n: a\r\n\r\n",
    "a blank before the colon": b"GET /v1/models HTTP/1.1\r\nhost : a\r\n\r\n",
    "a zero byte": b"GET /v1/models HTTP/1.1\r\nhost: a\x00b\r\n\r\n",
    "bytes that are no text": b"GET /v1/\xff\xfe HTTP/1.1\r\nhost: \xff\r\nauthorization: Bearer \xff\r\n\r\n",
    "escapes that are no text": b"GET /v1/traces/%ff%00%zz HTTP/1.1\r\nhost: a\r\nauthorization: Bearer hr_dev\r\n\r\n",
    "a folded line": HEAD + b"x-a: b\r\n c\r\nconnection: close\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    "a whole address": b"GET http://b/v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    "a long header": HEAD + b"x-a: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"x-%d: a\r\n" % number for number in range(5000)) + b"\r\n",
    "a preface of another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
    "a length that is no number": HEAD + b"content-length: ten\r\n\r\n" + HI,
    "a negative length": HEAD + b"content-length: -1\r\n\r\n" + HI,
    "a length beyond all": HEAD + b"content-length: 99999999999999999999999\r\n\r\n" + HI,
    "less than announced": HEAD + b"content-length: 1000\r\n\r\n" + HI,
    "a chunk that is none": HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n" + HI,
    "a chunk beyond all": HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + HI,
    "chunks without an end": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "an encoding nobody knows": HEAD + b"transfer-encoding: magic\r\n\r\n" + HI,
    "expecting more": body(HI, b"expect: 200-ok\r\n"),
}


async def test_malformed_requests_end_well(rig):
    async with gateway(rig) as port:
        for name, raw in MALFORMED.items():
            for status in statuses(await send(port, raw)):
                assert status < 500 or status in (501, 505), (name, status)


SMUGGLED = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer hr_dev\r\ncontent-length: 30\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"content-length: %d\r\ncontent-length: 5\r\n\r\n" % len(HI) + HI,
        HEAD + b"content-length: %d, 5\r\n\r\n" % len(HI) + HI,
        HEAD + b"content-length: +%d\r\n\r\n" % len(HI) + HI,
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ],
)
async def test_a_body_whose_length_is_in_doubt_is_refused(rig, raw):
    async with gateway(rig) as port:
        found = statuses(await send(port, raw))
        assert len(found) <= 1 and all(status in (400, 501) for status in found)
        assert not rig.engine.calls


BODIES = {
    "nothing": b"",
    "deep": b"[" * 5000 + b"]" * 5000,
    "deep in a schema": HI[:-1] + b',"response_format":{"type":"json_schema",'
    b'"json_schema":{"name":"a","schema":' + b'{"items":' * 900 + b"{}" + b"}" * 900 + b"}}}",
    "no text": b'{"model":"\xff\xfe"}',
    "half a pair": HI.replace(b"hi", b"\\ud800"),
    "a zero": HI.replace(b"hi", b"\\u0000"),
    "no number": HI[:-1] + b',"temperature":NaN}',
    "beyond all numbers": HI[:-1] + b',"temperature":1e999,"seed":' + b"9" * 400 + b"}",
    "twice": HI[:-1] + b',"model":"other"}',
    "a list": b"[]",
    "cut": HI[:-5],
    "more": HI + HI,
    "a mark before": b"\xef\xbb\xbf" + HI,
    "wide": HI.decode().encode("utf-16"),
}


async def test_bodies_that_are_none(rig):
    async with gateway(rig) as port:
        for name, content in BODIES.items():
            for path in (b"chat/completions", b"completions", b"responses", b"embeddings", b"rerank"):
                raw = body(content).replace(b"chat/completions", path, 1)
                [status] = statuses(await send(port, raw, end=False))
                assert status in (200, 400, 404, 413), (name, path, status)


QUERIES = (
    "?" * 3000,
    "&" * 3000,
    "a=%",
    "a=%ff%fe",
    "group_by=" + "," * 3000,
    "\x7f",
    "from=%00&to=\u00e9".encode().decode("latin-1"),
)


async def test_absurd_queries(rig):
    async with gateway(rig) as port:
        for query in QUERIES:
            raw = HEAD.replace(b"POST /v1/chat/completions", b"GET /v1/models?" + query.encode("latin-1"))
            raw += b"connection: close\r\n\r\n"
            for status in statuses(await send(port, raw, end=False)):
                assert status in (200, 400), query[:20]


async def test_headers_beyond_the_limit_are_refused(rig):
    async with gateway(rig, header_bytes=8192) as port:
        [status] = statuses(await send(port, HEAD + b"x-a: " + b"a" * 20_000 + b"\r\n\r\n"))
        assert status in (400, 431)


@pytest.mark.parametrize("framing", [b"content-length: 1000", b"transfer-encoding: chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(rig, monkeypatch, framing):
    monkeypatch.setattr("headrace_gateway.http_api.rsgi.BODY_TIMEOUT_S", 0.2)
    async with gateway(rig) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(30):
            begun = b"1\r\n{\r\n" if b"chunked" in framing else b"{"
            writer.write(HEAD + framing + b"\r\nconnection: close\r\n\r\n" + begun)
            answer = await reader.read()
        writer.close()
        assert statuses(answer) == [400] and b"did not arrive within" in answer
        assert not rig.engine.calls


async def test_a_client_that_reads_nothing_is_cut_off(rig):
    rig.engine.scripts["small"] = [Script(["x" * 1_000_000] * 20, hang=True)]
    async with gateway(rig, unread_s=1) as port:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(body(HI[:-1] + b',"stream":true}'))
            await rig.engine.hanging.wait()
            await until(lambda: rig.in_flight.total == 0)
        assert rig.engine.calls[0].cancelled
        rig.engine.scripts["small"] = [Script()]


async def test_random_bytes_and_random_changes(rig):
    async with gateway(rig) as port:
        loop = asyncio.get_running_loop()

        def run():
            @FUZZ
            @given(st.binary(max_size=400), st.integers(0, 400), st.booleans())
            def fuzz(noise, at, whole):
                raw = noise if whole else body(HI)[:at] + noise + body(HI)[at:]
                back = asyncio.run_coroutine_threadsafe(send(port, raw), loop).result(60)
                assert all(status < 500 or status in (501, 505) for status in statuses(back))

            fuzz()

        await asyncio.to_thread(run)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "prompt",
        "input",
        "query",
        "documents",
        "stream",
        "temperature",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "metadata",
        "headrace",
        "logprobs",
        "stream_options",
        "seed",
        "user",
        "encoding_format",
        "dimensions",
        "top_n",
    ]
)


async def test_random_values_in_known_fields(rig):
    async with gateway(rig) as port:
        loop = asyncio.get_running_loop()

        def run():
            @FUZZ
            @given(
                st.dictionaries(FIELDS, JSON, max_size=4),
                st.sampled_from(["chat/completions", "completions", "responses", "embeddings", "rerank"]),
            )
            def fuzz(changed, path):
                content = json.dumps({**json.loads(HI), **changed}).encode()
                raw = body(content).replace(b"chat/completions", path.encode(), 1)
                back = asyncio.run_coroutine_threadsafe(send(port, raw, end=False), loop).result(60)
                assert all(status < 500 for status in statuses(back)), content

            fuzz()

        await asyncio.to_thread(run)
