"""Asking a unit how it is."""

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import Literal

from headrace_kit.processes import ended
from headrace_local.units import HttpProbe, PostgresProbe, Probe, TcpProbe, ValkeyProbe

Answer = Literal["ready", "busy", "silent"]
"""`busy`: it runs, but cannot do its work now (still loading, or what it depends on is away)."""


async def ask(probe: Probe, waited_for: set[int], *, timeout_s: float = 3) -> Answer:
    """Ask once; no answer within `timeout_s` is silence.

    Args:
        probe: how to ask.
        waited_for: holds the pid of the process that a command probe runs, as long as it is waited for.
        timeout_s: seconds for the whole question.
    """
    try:
        async with asyncio.timeout(timeout_s):
            match probe:
                case TcpProbe(port):
                    return await _tcp(port)
                case HttpProbe(port, path):
                    return await _http(port, path)
                case ValkeyProbe(port, password_file):
                    return await _valkey(port, password_file)
                case PostgresProbe(pg_isready, port):
                    return await _postgres(pg_isready, port, waited_for)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return "silent"


async def _talk(port: int, request: bytes, answer_bytes: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.readexactly(answer_bytes) if answer_bytes else b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _tcp(port: int) -> Answer:
    await _talk(port, b"", 0)
    return "ready"


async def _http(port: int, path: str) -> Answer:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    status = await _talk(port, request.encode(), len("HTTP/1.1 200"))
    return "ready" if status.endswith(b" 200") else "busy"


async def _valkey(port: int, password_file: str) -> Answer:
    password = Path(password_file).read_text().strip()  # noqa: ASYNC240, a few bytes
    wanted = b"+OK\r\n+PONG\r\n"
    answer = await _talk(port, f"AUTH {password}\r\nPING\r\n".encode(), len(wanted))
    return "ready" if answer == wanted else "busy"


async def _postgres(pg_isready: str, port: int, waited_for: set[int]) -> Answer:
    process = subprocess.Popen(  # noqa: ASYNC220, asyncio would start a thread to wait for it
        (pg_isready, "--quiet", "--host=127.0.0.1", f"--port={port}", "--timeout=2"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waited_for.add(process.pid)
    try:
        await ended(process.pid)
    finally:
        process.kill()
        code = process.wait()
        waited_for.discard(process.pid)
    # 0 accepts connections, 1 runs and rejects them (starting, stopping), 2 and above: nobody there
    return "ready" if code == 0 else "busy" if code == 1 else "silent"
