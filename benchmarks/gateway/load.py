"""A cheap load: `python load.py OPTIONS_AS_JSON` prints its figures as JSON.

Options: `port`, `path`, `headers`, `body`, `streams`, then either `concurrency` and `requests` (closed loop), or `rate`
and `requests` (open loop, a request each 1/rate seconds whatever the answers do), or `idle` (so many streams are
opened, and held until standard input ends).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any, cast

import uvloop


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = cast(asyncio.Transport, transport)

    def send(self, due: float) -> None:
        """Send a request that was due at that time."""
        self._due, self.first, self._length, self._seen, self._head = due, 0.0, -1, 0, b""
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the response."""
        if self._length == -1:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._load.errors += 1
                self._load.error = self._load.error or (head + data)[:400].decode("latin-1")
            lower = head.lower()
            at = lower.find(b"content-length:")
            self._length = -2 if at < 0 else int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if data and not self.first:
            self.first = time.perf_counter()
            self._load.began(self)
        self._seen += len(data)
        if data.endswith(b"0\r\n\r\n") if self._length == -2 else self._seen >= self._length:
            now = time.perf_counter()
            self._load.ended(self, now - self._due, (self.first or now) - self._due)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        if self._load.running:
            self._load.errors += 1
            self._load.error = self._load.error or f"connection lost: {error}"
            self._load.done.set()


class Load:
    """Sends requests and keeps how long they took."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        body = json.dumps(options["body"]).encode()
        headers = {"host": "127.0.0.1", "content-type": "application/json", **options.get("headers", {})}
        head = f"POST {options['path']} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()
        )
        self.request = head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        self.errors, self.error = 0, ""
        self.whole: list[float] = []
        self.firsts: list[float] = []
        self.done = asyncio.Event()
        self.running = True
        self._left = options.get("requests", 0)
        self._idle: deque[Client] = deque()
        self._begun = 0

    async def connect(self) -> Client:
        """A new connection."""
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(self), "127.0.0.1", self.options["port"]
        )
        return client

    def began(self, client: Client) -> None:
        """The first byte of a body is there."""
        self._begun += 1
        if self._begun == self.options.get("idle"):
            self.done.set()

    def ended(self, client: Client, whole_s: float, first_s: float) -> None:
        """A response is over."""
        self.whole.append(whole_s)
        self.firsts.append(first_s)
        if "rate" in self.options:
            self._idle.append(client)
            if len(self.whole) >= self.options["requests"]:
                self.done.set()
        elif self._left > 0:
            self._left -= 1
            client.send(time.perf_counter())
        elif len(self.whole) >= self.options["requests"]:
            self.done.set()

    async def closed(self) -> None:
        """So many requests, so many at a time."""
        clients = [await self.connect() for _ in range(self.options["concurrency"])]
        for client in clients:
            if self._left > 0:
                self._left -= 1
                client.send(time.perf_counter())
        await self.done.wait()

    async def open(self) -> None:
        """Requests at a rate."""
        self._idle.extend([await self.connect() for _ in range(32)])
        start = time.perf_counter()
        for number in range(self.options["requests"]):
            due = start + number / self.options["rate"]
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            client = self._idle.pop() if self._idle else await self.connect()
            client.send(time.perf_counter())
        await self.done.wait()

    async def hold(self) -> None:
        """Open streams, say so, and hold them until standard input ends."""
        for _ in range(self.options["idle"]):
            (await self.connect()).send(time.perf_counter())
        await self.done.wait()
        print(json.dumps({"open": self._begun, "error": self.error}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _of(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000 if values else 0.0


async def main(options: dict[str, Any]) -> None:
    """Run and print."""
    load = Load(options)
    if "idle" in options:
        await load.hold()
    else:
        await (load.open() if "rate" in options else load.closed())
        print(
            json.dumps(
                {
                    "requests": len(load.whole),
                    "errors": load.errors,
                    "error": load.error,
                    "p50_ms": _of(load.whole, 0.5),
                    "p99_ms": _of(load.whole, 0.99),
                    "first_p50_ms": _of(load.firsts, 0.5),
                    "first_p99_ms": _of(load.firsts, 0.99),
                }
            )
        )
    load.running = False


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
