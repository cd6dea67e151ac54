"""A model's endpoint that costs next to nothing: `python upstream.py PORT`. OpenAI's chat API, whole and streamed.

A stream's chunks come a millisecond apart, so that each is read by itself, as a model's are. A body that holds the
word `hang` gets one chunk and then nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

CHUNKS = 20
_HEAD = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":'
_USAGE = b'"usage":{"prompt_tokens":20,"completion_tokens":20,"total_tokens":40}'
_BODY = (
    _HEAD
    + b'{"role":"assistant","content":"The quick brown fox jumps over the lazy dog and then it goes home."},'
    + b'"logprobs":null,"finish_reason":"stop"}],'
    + _USAGE
    + b"}"
)
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_CHUNK = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"mock","choices":[%b]%b}\n\n'
_DELTA = _CHUNK % (b'{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}', b"")
_END = (
    _CHUNK % (b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}', b"")
    + _CHUNK % (b"", b"," + _USAGE)
    + b"data: [DONE]\n\n"
)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_PIECE, _LAST = _chunked(_DELTA), _chunked(_END) + b"0\r\n\r\n"


def pieces() -> list[bytes]:
    """A whole stream as it is sent."""
    return [_STREAM + _PIECE, *[_PIECE] * (CHUNKS - 1), _LAST]


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
            elif line[:18].lower() == b"transfer-encoding:":
                length = len(body) if body.endswith(b"0\r\n\r\n") else len(body) + 1
        if len(body) < length:
            return
        self._buffer = b""
        if b'"stream":true' in body or b'"stream": true' in body:
            self._transport.write(_STREAM + _PIECE)
            if b"hang" not in body:
                asyncio.get_running_loop().call_later(0.001, self._next, 1)
        else:
            self._transport.write(WHOLE)

    def _next(self, number: int) -> None:
        if self._transport.is_closing():
            return
        if number == CHUNKS:
            self._transport.write(_LAST)
            return
        self._transport.write(_PIECE)
        asyncio.get_running_loop().call_later(0.001, self._next, number + 1)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
