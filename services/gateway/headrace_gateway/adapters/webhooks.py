"""Sends a webhook over HTTP to where it may be sent: nowhere inside, unless the config allows the host."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Callable, Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from headrace_gateway.cascade.webhook import Refused
from headrace_kit.config.cascades import Webhook

_TIMEOUT_S = 10.0
_AGAIN = frozenset({408, 425, 429, *range(500, 600)})


class HttpPost:
    """Posts JSON. Redirects are not followed; a name is resolved once, and its addresses must be public.

    Args:
        allowed: hosts that may also be called without TLS and at addresses that are not public.
    """

    def __init__(self, allowed: Callable[[], Collection[str]]) -> None:
        self._allowed = allowed

    async def __call__(self, hook: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """See `Post`."""
        await asyncio.to_thread(self._post, hook.url, body, headers)

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        trusted = host in self._allowed()
        if not secure and not trusted:
            raise Refused(f"{host} is not in services.gateway.webhook_hosts, so it must be https")
        try:
            port = parts.port or (443 if secure else 80)
            address = _address(host, port, trusted=trusted)
        except ValueError as error:
            raise Refused(f"the address of {host} cannot be used: {error}") from error
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.sock = socket.create_connection((address, port), _TIMEOUT_S)
            if secure:
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {"content-type": "application/json", **headers})
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError("the receiver does not speak HTTP") from error
        finally:
            connection.close()
        if status in _AGAIN:
            raise OSError(f"the receiver answered {status}")
        if not 200 <= status < 300:
            raise Refused(f"{host} answered {status}")


def _address(host: str, port: int, *, trusted: bool) -> str:
    """An address of a host; all must be public where it is not trusted. Raises Refused or OSError."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not trusted and not _public(address):
            raise Refused(f"{host} is not a public address, and not in services.gateway.webhook_hosts")
    return found[0]


def _public(address: str) -> bool:
    parsed = ip_address(address.split("%", 1)[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast
