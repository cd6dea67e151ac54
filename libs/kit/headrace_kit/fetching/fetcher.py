"""Fetches what is behind an address that a caller chose, without reaching anything that the caller may not reach.

A name is resolved here, every answer is checked, and the connection goes to the checked addresses and nowhere else: a
name that answers differently the second time changes nothing. Redirects are followed by hand, each checked like the
first address. Why a fetch failed is told without what the other side said: the caller may not be able to ask it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from headrace_kit.fetching.addresses import Address, Network, embedded, in_any, is_public

_MOST_REDIRECTS = 3
_MOST_URL_CHARS = 8192
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = (80, 443)
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, as texts. Raises OSError when there are none."""


class CannotFetchError(Exception):
    """It cannot be had; the text is for the caller."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a fetch may do.

    Attributes:
        max_bytes: size of a body.
        timeout_s: for one address, redirects included.
        allowed: networks that may be reached although they are not public, on any port.
    """

    max_bytes: int
    timeout_s: float
    allowed: tuple[Network, ...] = ()


async def system_resolve(host: str, port: int) -> list[str]:
    """The system's resolver. It reads addresses in every writing that connecting would: decimal, octal, short."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address answered with. `url` is where it was in the end; `encoded`: the body is compressed."""

    url: str
    content_type: str
    encoded: bool
    body: bytes


def anything(content_type: str, encoded: bool) -> bool:
    """Whether an answer of this kind is read: each."""
    return True


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches.

    Attributes:
        limits: what it may do.
        resolve: finds addresses.
        what: what is fetched, for what errors say.
        accept: kinds that are asked for.
        reads: whether an answer is read, by its media type and whether it is compressed.
    """

    limits: Limits
    resolve: Resolve = field(default=system_resolve)
    what: str = "document"
    accept: str = "*/*"
    reads: Callable[[str, bool], bool] = field(default=anything)

    async def fetch(self, address: str) -> Fetched:
        """What is behind an address.

        Raises:
            CannotFetchError: it may not be fetched, or cannot.
        """
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await self._follow(address)
        except TimeoutError:
            raise CannotFetchError(f"the {self.what} did not arrive within {self.limits.timeout_s:g} s") from None

    async def _follow(self, address: str) -> Fetched:
        url = self._parsed(address)
        for _ in range(_MOST_REDIRECTS + 1):
            found = await self._get(url)
            if not isinstance(found, URL):
                return found
            if url.scheme == "https" and found.scheme != "https":
                raise CannotFetchError(f"the {self.what}'s address redirects from https to another scheme")
            url = found
        raise CannotFetchError(f"the {self.what}'s address redirects more than {_MOST_REDIRECTS} times")

    async def _get(self, url: URL) -> Fetched | URL:
        """One request: what was wanted, or where it is instead."""
        addresses = await self._vetted(url)
        connector = aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True)
        session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )
        headers = {"Accept": self.accept, "Accept-Encoding": "identity", "User-Agent": "headrace"}
        try:
            async with session, session.get(url, allow_redirects=False, headers=headers) as response:
                if response.status in _REDIRECTS:
                    return self._parsed(response.headers.get("Location", ""), base=url)
                if response.status != 200:
                    raise CannotFetchError(f"the {self.what}'s address does not answer with {self._one}")
                return await self._read(url, response)
        except (aiohttp.ClientError, OSError, ValueError):
            # Not told apart, and not chained: neither a caller nor a log learns what listens where.
            raise CannotFetchError(f"the {self.what}'s address cannot be reached") from None

    async def _read(self, url: URL, response: aiohttp.ClientResponse) -> Fetched:
        most = self.limits.max_bytes
        encoded = "Content-Encoding" in response.headers
        if not self.reads(response.content_type, encoded):
            raise CannotFetchError(f"the {self.what}'s address does not answer with {self._one}")
        if (response.content_length or 0) > most:
            raise CannotFetchError(f"the {self.what} is larger than {most} bytes")
        data = bytearray()
        async for piece in response.content.iter_chunked(65_536):
            data += piece
            if len(data) > most:
                raise CannotFetchError(f"the {self.what} is larger than {most} bytes")
        return Fetched(str(url), response.content_type, encoded, bytes(data))

    @property
    def _one(self) -> str:
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

    async def _vetted(self, url: URL) -> list[Address]:
        """Addresses of the URL's host, all of which may be reached. One that may not refuses the host."""
        # One sentence for what does not exist and for what is internal: neither is told apart from the other.
        refusal = CannotFetchError(f"the {self.what}'s address does not lead to a public host that may be asked")
        host, port = url.raw_host, url.port
        if not host or port is None:
            raise refusal
        try:
            found = [ip_address(text) for text in await self.resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            raise refusal from None
        for address in found:
            listed = in_any(embedded(address), self.limits.allowed)
            if not listed and not (is_public(address) and port in _PORTS):
                raise refusal
        if not found:
            raise refusal
        return found

    def _parsed(self, address: str, base: URL | None = None) -> URL:
        if len(address) > _MOST_URL_CHARS:
            raise CannotFetchError(f"the {self.what}'s address is longer than {_MOST_URL_CHARS} characters")
        try:
            url = URL(address) if base is None else base.join(URL(address))
        except ValueError:
            raise CannotFetchError(f"the {self.what}'s address is not a URL") from None
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise CannotFetchError(f"the {self.what}'s address is not an http or https address")
        if url.raw_user is not None or url.raw_password is not None:
            raise CannotFetchError(f"the {self.what}'s address may not hold credentials")
        return url.with_fragment(None)


class _Pinned(AbstractResolver):
    """Answers with the checked addresses, whatever is asked."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""
