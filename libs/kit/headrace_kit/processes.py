"""Child processes of a service, started without Python's hooks for a fork.

uvloop starts a child by `fork` and runs those hooks in it (https://github.com/MagicStack/uvloop/issues/749): in a
service with threads of gRPC and OpenTelemetry, whose hooks start threads anew, the child may then die before it
becomes the program. `subprocess` calls `vfork` and runs nothing in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping
from typing import Any

_LOOK_EVERY_S = 0.02


class _Pipe(asyncio.StreamReaderProtocol):
    """One end of a pipe. `closed` is set once it is."""

    def __init__(self, limit: int) -> None:
        self.reader = asyncio.StreamReader(limit)
        self.closed = asyncio.Event()
        super().__init__(self.reader)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.BaseProtocol`."""
        self.transport = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_lost(exc)
        self.closed.set()


class Process:
    """A child with its input and output as streams; `start` makes it.

    Attributes:
        stdin: what it reads.
        stdout: what it writes.
    """

    def __init__(self, popen: subprocess.Popen[bytes], into: _Pipe, out_of: _Pipe) -> None:
        self.stdin = asyncio.StreamWriter(into.transport, into, None, asyncio.get_running_loop())
        self.stdout = out_of.reader
        self._popen, self._pipes = popen, (into, out_of)

    @classmethod
    async def start(
        cls, *command: str, env: Mapping[str, str] | None = None, limit: int = 2**16, silent: bool = False
    ) -> Process:
        """Start a program.

        Args:
            command: the program and its arguments.
            env: its whole environment; None gives it the service's.
            limit: bytes that a line of its output may have.
            silent: its error output goes nowhere, and not where the service's goes.

        Raises:
            OSError: it could not be started.
        """
        popen = _started(command, env, subprocess.DEVNULL if silent else None)
        loop, into, out_of = asyncio.get_running_loop(), _Pipe(limit), _Pipe(limit)
        try:
            await loop.connect_write_pipe(lambda: into, popen.stdin)
            await loop.connect_read_pipe(lambda: out_of, popen.stdout)
        except BaseException:
            popen.kill()
            popen.wait()
            raise
        return cls(popen, into, out_of)

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def kill(self) -> None:
        """End it at once; one that has ended already is left alone."""
        self._popen.kill()

    async def wait(self) -> int:
        """Wait until it ends; returns its exit status."""
        if self._popen.poll() is None:
            try:
                await ended(self._popen.pid)
            except OSError:  # a sandbox that has no handles of processes
                while self._popen.poll() is None:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(_LOOK_EVERY_S)
        return self._popen.wait()

    async def communicate(self, content: bytes) -> bytes:
        """Write all of its input, and return all of its output once it has ended."""
        written = asyncio.create_task(self._write(content))
        try:
            out = await self.stdout.read()
            await written
        finally:
            written.cancel()
        await self.wait()
        for pipe in self._pipes:
            pipe.transport.close()
            await pipe.closed.wait()
        return out

    async def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended, or reads no further
            self.stdin.write(content)
            await self.stdin.drain()
        self.stdin.close()


async def ended(pid: int) -> None:
    """Return when the process has ended; as a child of ours it can still be reaped then.

    Raises:
        OSError: the system gives no handles of processes.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _started(command: tuple[str, ...], env: Mapping[str, str] | None, stderr: int | None) -> subprocess.Popen[bytes]:
    """Takes a millisecond of the loop's time: until the program runs."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, env=env, bufsize=0)
