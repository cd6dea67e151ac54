"""One message to somebody else's system: signed, posted once, and to nowhere inside unless the host is trusted."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
from ipaddress import ip_address
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0
_AGAIN = frozenset({408, 425, 429, *range(500, 600)})


class Refused(Exception):
    """The receiver does not want it, or may not be called: not tried again."""


def signature(secret: str, body: bytes, now: int) -> str:
    """`t=<seconds since 1970>,v1=<hex>`: HMAC-SHA256 by the secret of `<t>.` and the body."""
    digest = hmac.new(secret.encode(), str(now).encode() + b"." + body, hashlib.sha256)
    return f"t={now},v1={digest.hexdigest()}"


def post(url: str, body: bytes, headers: dict[str, str], trusted: bool, setting: str) -> None:
    """Post JSON; call it on a thread of its own. Redirects are not followed; a name is resolved once.

    Args:
        url: where to.
        body: JSON.
        headers: beside the content's type.
        trusted: the host may be called without TLS and at addresses that are not public.
        setting: where the config says which hosts are trusted, for messages.

    Raises:
        Refused: it may not be sent there, or the receiver does not want it.
        OSError: another try may go better.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    if not secure and not trusted:
        raise Refused(f"{host} is not in {setting}, so it must be https")
    try:
        port = parts.port or (443 if secure else 80)
        address = _address(host, port, trusted=trusted, setting=setting)
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


def _address(host: str, port: int, *, trusted: bool, setting: str) -> str:
    """An address of a host; all must be public where it is not trusted. Raises Refused or OSError."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not trusted and not _public(address):
            raise Refused(f"{host} is not a public address, and not in {setting}")
    return found[0]


def _public(address: str) -> bool:
    parsed = ip_address(address.split("%", 1)[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast
