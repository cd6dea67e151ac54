"""A load that keeps each request: `python load.py OPTIONS_AS_JSON`, until it is ended.

Options: `ports` (the model that is asked at each), `key`, `rate` (requests a second at each port, whatever the answers
do), `file`. To the file
it adds a line a request: when it was sent (nanoseconds since 1970), how long it took (microseconds), port, status, arm.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, TextIO, cast

import uvloop


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, port: int, kept: TextIO, idle: deque[Client]) -> None:
        self._port, self._kept, self._idle = port, kept, idle
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        """Send a request now."""
        self._sent_ns, self._began_ns = time.time_ns(), time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) >= int(headers[b"content-length"]):
            took = (time.perf_counter_ns() - self._began_ns) // 1000
            arm = headers.get(b"x-headrace-arm", b"none").decode()
            self._kept.write(f"{self._sent_ns} {took} {self._port} {head[9:12].decode()} {arm}\n")
            self._buffer = b""
            self._idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        """It stays in the file as what it is: a request that got no answer."""
        self._kept.write(f"{time.time_ns()} 0 {self._port} 0 lost\n")


async def main(options: dict[str, Any], kept: TextIO) -> None:
    """Send until cancelled."""
    ports = options["ports"].items()
    await asyncio.gather(*(_send(int(port), model, options, kept) for port, model in ports), _flush(kept))


async def _flush(kept: TextIO) -> None:
    while True:
        await asyncio.sleep(0.1)
        kept.flush()


async def _send(port: int, model: str, options: dict[str, Any], kept: TextIO) -> None:
    loop = asyncio.get_running_loop()
    idle: deque[Client] = deque()
    began = loop.time()
    for number in itertools.count():
        await asyncio.sleep(began + number / options["rate"] - loop.time())
        if not idle:
            _, client = await loop.create_connection(lambda: Client(port, kept, idle), "127.0.0.1", port)
        else:
            client = idle.popleft()
        client.send(_request(model, options["key"], f"{port}-{number}"))


def _request(model: str, key: str, user: str) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Is it so?"}], "user": user}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    with Path(given["file"]).open("a") as file:
        uvloop.run(main(given, file))
