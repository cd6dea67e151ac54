"""Files to text, each in a process of its own that may not take more than its share."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import msgspec

from headrace_kit.processes import Process
from headrace_retrieval.parsing.child import Answer
from headrace_retrieval.parsing.formats import detect
from headrace_retrieval.parsing.parsed import Parsed, Refused

MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of a reader; what it truly uses is a fraction."""

_log = logging.getLogger(__name__)
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")


class _Crashed(Refused):
    """The reader ended by itself, within its limits."""


class Sandbox:
    """`Parser` by child processes.

    Args:
        at_once: files that are read at one time; more wait.
        limit_s: longest that reading a file may take, in seconds of CPU time and, doubled, of the clock.
    """

    def __init__(self, at_once: int, limit_s: float) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._limit_s = limit_s

    async def parse(self, content: bytes, name: str, content_type: str) -> Parsed:
        """See the port."""
        kind = detect(content, name, content_type)
        async with self._places:
            try:
                return await self._read(kind.value, content)
            except _Crashed:  # once more: what the file does to a reader, it does again
                return await self._read(kind.value, content)

    async def _read(self, kind: str, content: bytes) -> Parsed:
        process = await Process.start(
            *(sys.executable, "-X", "faulthandler", "-m", "headrace_retrieval.parsing.child"),
            *(kind, str(round(self._limit_s)), str(MEMORY_BYTES)),
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"},
        )
        try:
            async with asyncio.timeout(2 * self._limit_s):
                out = await process.communicate(content)
        except TimeoutError:
            raise Refused(f"reading it takes longer than {self._limit_s:g} s; split it") from None
        finally:
            process.kill()
            await process.wait()
        try:
            answer = msgspec.json.decode(out, type=Answer)
        except msgspec.MsgspecError:
            raise self._of_a_death(kind, process.returncode) from None
        if answer.parsed is None:
            raise Refused(answer.refused)
        return answer.parsed

    def _of_a_death(self, kind: str, status: int | None) -> Refused:
        """Why there is no answer; `status` is as `Popen.returncode`."""
        _log.warning("a reader ended without an answer", extra={"kind": kind, "status": status})
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return Refused(f"reading it takes more than {self._limit_s:g} s or too much memory; split it")
        return _Crashed(f"its reader failed, without a word (exit status {status}); save the file anew, or split it")
