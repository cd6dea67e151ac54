"""A model's endpoint: `python endpoint.py PORT DELAY_MS`.

It answers each chat completion after so long, and those under `/broken` with an error. Those under `/of-S-F` take a
time of their own, about S hundredths of DELAY_MS (lognormal, sigma 0.4), and F of 1,000 fail.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from typing import cast

import uvloop

_ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "there",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes, it is"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
    }
).encode()
_ERROR = b'{"error": {"message": "broken", "type": "server_error", "code": "broken"}}'
_HEAD = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
FINE = _HEAD % (b"200 OK", len(_ANSWER), _ANSWER)
BROKEN = _HEAD % (b"500 Internal Server Error", len(_ERROR), _ERROR)


_OF = re.compile(rb"/of-(\d+)-(\d+)/")


class Endpoint(asyncio.Protocol):
    """One connection."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole; its length is always told."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) >= length:
            self._buffer = b""
            answer, delay_s = self._answer(head.split(b"\r\n", 1)[0])
            asyncio.get_running_loop().call_later(delay_s, self._transport.write, answer)

    def _answer(self, line: bytes) -> tuple[bytes, float]:
        found = _OF.search(line)
        if found is None:
            return BROKEN if b"/broken/" in line else FINE, self._delay_s
        delay_s = self._delay_s * int(found[1]) / 100 * random.lognormvariate(0, 0.4)
        return BROKEN if random.random() < int(found[2]) / 1000 else FINE, delay_s


async def main(port: int, delay_ms: float) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Endpoint(delay_ms / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
