"""The supervisor's control channel: one JSON object per line over loopback TCP, opened by the token in the state file.

TCP and not a Unix socket, because the path of a data directory may be longer than a socket's name can be.
"""

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

Action = Literal["stop", "stop_unit", "start_unit", "restart_unit"]


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a caller wants."""

    token: str
    action: Action
    unit: str | None = None


class Reply(msgspec.Struct, kw_only=True):
    """How it went; `error` says what was wrong and is None when all is well."""

    error: str | None = None


class ControlError(RuntimeError):
    """The supervisor refused, or could not be reached."""


Handler = Callable[[Request], Awaitable[None]]


async def serve(token: str, handle: Handler) -> tuple[asyncio.Server, int]:
    """Listen on a free loopback port. Returns the server, which the caller closes, and its port.

    `handle` raises ControlError to refuse a request.
    """

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 10)
            request = msgspec.json.decode(line, type=Request)
            if not hmac.compare_digest(request.token.encode(), token.encode()):
                raise ControlError("wrong token")
            await handle(request)
            reply = Reply()
        except (ControlError, msgspec.MsgspecError, ValueError, TimeoutError) as error:
            reply = Reply(error=str(error) or type(error).__name__)
        try:
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
            writer.close()
        except ConnectionError:
            pass  # the caller did not wait for the answer

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def ask(port: int, token: str, action: Action, unit: str | None = None, *, timeout_s: float = 30) -> None:
    """Send one request and wait for its answer.

    Raises:
        ControlError: refused (the message says why), or nobody answered within `timeout_s`.
    """
    request = msgspec.json.encode(Request(token=token, action=action, unit=unit))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(request + b"\n")
            with connection.makefile("rb") as answer:
                reply = msgspec.json.decode(answer.readline(), type=Reply)
    except (OSError, msgspec.DecodeError) as error:
        raise ControlError(f"the supervisor does not answer: {error}") from error
    if reply.error is not None:
        raise ControlError(reply.error)
