"""Connections to one endpoint: kept while they are used, closed when they were not for a while."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace_gateway.adapters.openai_http.connection import Connection
from headrace_kit.errors import DeadlineExceeded, Upstream


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL. `path` has no slash at its end."""

    host: str
    port: int
    secure: bool
    path: str

    @property
    def authority(self) -> str:
        """What the header `host` says."""
        return self.host if self.port == (443 if self.secure else 80) else f"{self.host}:{self.port}"


def address_of(url: str) -> Address:
    """Take a valid http or https URL apart. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return Address(parts.hostname or "", parts.port or (443 if secure else 80), secure, parts.path.rstrip("/"))


class Pool:
    """Hands out connections to one address; the one that was used last is used first.

    Args:
        address: where to.
        tls: makes the TLS context, for an address that is secure.
        connect_s: longest time to connect.
        idle_s: longest wait for the next byte of a response.
        keep_s: how long an unused connection is kept.
    """

    def __init__(
        self, address: Address, tls: Callable[[], ssl.SSLContext], connect_s: float, idle_s: float, keep_s: float
    ) -> None:
        self._address, self._tls = address, tls
        self._connect_s, self._idle_s, self._keep_s = connect_s, idle_s, keep_s
        self._unused: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, deadline: float | None) -> Connection:
        """A connection that nobody else uses.

        Raises:
            Upstream: it cannot be had in time.
            DeadlineExceeded: the caller's time is up.
        """
        while self._unused:
            connection = self._unused.pop()
            if connection.usable:
                return connection
        return await self._connect(deadline)

    def close(self) -> None:
        """Keep no connection any more; those in use close when they are given back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._unused):
            connection.close()
        self._unused.clear()

    def abort(self) -> None:
        """Close all connections, also those in use."""
        self.close()
        for connection in tuple(self._open):
            connection.close()

    async def _connect(self, deadline: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        wait_s = self._connect_s if deadline is None else min(self._connect_s, deadline - loop.time())
        try:
            async with asyncio.timeout(wait_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._idle_s, self._freed, self._open.discard),
                    self._address.host,
                    self._address.port,
                    ssl=self._tls() if self._address.secure else None,
                )
        except TimeoutError as error:
            if wait_s < self._connect_s:
                raise DeadlineExceeded("the deadline passed before the answer was there") from error
            raise _unreached() from error
        except (OSError, ssl.SSLError) as error:
            raise _unreached() from error
        self._open.add(connection)
        return connection

    def _freed(self, connection: Connection) -> None:
        if self._closed or not self._keep_s:
            connection.close()
            return
        connection.unused_since = asyncio.get_running_loop().time()
        self._unused.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._keep_s, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = None
        oldest = loop.time() - self._keep_s
        while self._unused and (self._unused[0].unused_since <= oldest or not self._unused[0].usable):
            self._unused.popleft().close()
        if self._unused:
            left_s = self._unused[0].unused_since - oldest
            self._sweeper = loop.call_later(max(0.01, left_s), self._sweep)


def _unreached() -> Upstream:
    return Upstream("the model's endpoint cannot be reached", code="engine_unreached")
