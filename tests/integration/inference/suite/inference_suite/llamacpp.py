"""llama.cpp's own HTTP server as a process, for adapters that speak HTTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from pathlib import Path

from headrace_local.settings import Settings

SCRIPT = Path(__file__).with_name("llamacpp_server.py")


class LlamaServer:
    """One process; it starts when first asked for, and again when it was killed.

    Args:
        model: a GGUF file.
        name: what it serves the model as.
    """

    def __init__(self, model: Path, name: str, *, slots: int, context_tokens: int) -> None:
        self._arguments = [str(model), name, str(slots), str(context_tokens)]
        self._process: subprocess.Popen[str] | None = None
        self._address = ""

    def address(self) -> str:
        """Its base URL; it runs."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            python = Settings(data_dir=Path()).triton_env / "bin" / "python"
            self._process = subprocess.Popen(
                [str(python), str(SCRIPT), *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            self._address = self._process.stdout.readline().strip()
            assert self._address, "llama.cpp's server did not start"
        return self._address

    async def running(self) -> int:
        """Requests in its slots and behind them, as it counts itself."""
        slots = json.loads(await asyncio.to_thread(self._get, "/slots"))
        deferred = [
            float(line.split()[-1])
            for line in (await asyncio.to_thread(self._get, "/metrics")).decode().splitlines()
            if line.startswith("llamacpp:requests_deferred")
        ]
        return sum(slot["is_processing"] for slot in slots) + round(sum(deferred))

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    def stop(self) -> None:
        """End it, and let go of its pipes."""
        if self._process is not None:
            with self._process:
                self._process.kill()
            self._process = None

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=10) as answer:
            return answer.read()
