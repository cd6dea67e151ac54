"""Requests on threads of their own, their chunks on the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from headrace_inference.triton_models.shared.answer_stream import AnswerStream, Watcher
from headrace_inference.triton_models.shared.failures import RequestFailed

_log = logging.getLogger(__name__)


class LocalCall:
    """One request: what `triton_models.llamacpp.serve` wants of a call.

    Made on the event loop, which gets its chunk documents from `chunks`; None is the last.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.cancelled = threading.Event()
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.stream = AnswerStream(self._give)
        self.stream.logprobs = document.get("top_logprobs") is not None
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._on_cancel: Callable[[], None] | None = None

    def on_cancel(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at the cancel; at once if it has come already. None takes it back."""
        with self._lock:
            self._on_cancel = callback
            gone = self.cancelled.is_set()
        if gone and callback:
            callback()

    def cancel(self) -> None:
        """Nobody reads any more."""
        with self._lock:
            self.cancelled.set()
            callback, self._on_cancel = self._on_cancel, None
        if callback:
            callback()

    def due(self) -> float:
        """When `tick` has something to do, on the clock of `time.monotonic`."""
        return float(self.stream.due)

    def tick(self, now: float) -> None:
        """Send what is due."""
        self.stream.tick(now)

    def run(self, serve: Callable[[LocalCall], None], watcher: Watcher) -> None:
        """Answer it, on the thread that calls this."""
        watcher.watch(self)
        try:
            serve(self)
        except RequestFailed as failure:
            self._fail(failure.code, failure.message, failure.param)
        except Exception:
            _log.exception("a request to llama.cpp failed")
            self._fail("engine_failed", "the engine failed")
        finally:
            watcher.forget(self)
            self.stream.close()
            self._give(None)

    def _fail(self, code: str, message: str, param: str | None = None) -> None:
        if not self.cancelled.is_set():
            self.stream.fail(code, message, param)

    def _give(self, chunk: bytes | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.chunks.put_nowait, chunk)
        except RuntimeError:
            _log.debug("the event loop ended before a request to llama.cpp did")
