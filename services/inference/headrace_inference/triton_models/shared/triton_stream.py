"""Glue between Triton's decoupled responses and an `AnswerStream`."""

import json
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

from .answer_stream import AnswerStream, Watcher, encode, encode_error
from .failures import RequestFailed

_CANCEL = b'{"cancel":'
_STATS = b'{"stats":'
_ASK_EVERY_S = 1.0
"""How often Triton is asked whether the client is there: clients that leave say so, this finds those that died.

Asking takes 200 us of CPU, half of it in Triton itself: at 8 streams, asking five times a second took a tenth of all
that a token costs outside of the engine.
"""


class Call:
    """One request in work: its document, its stream, and whether the client still wants it."""

    def __init__(self, sender):
        self.document = {}
        self.stream = AnswerStream(lambda chunk: _send(sender, chunk))
        self.cancelled = threading.Event()
        self._sender = sender
        self._ask_at = time.monotonic() + _ASK_EVERY_S
        self._on_cancel = None
        self._ending = threading.Lock()
        self._ended = False
        self._lock = threading.Lock()

    def read(self, raw):
        """Take the request document.

        Raises:
            RequestFailed: it is not a JSON object.
        """
        try:
            document = json.loads(raw)
        except ValueError as error:
            raise RequestFailed("invalid_request", "the request is not JSON: %s" % error) from error
        if not isinstance(document, dict):
            raise RequestFailed("invalid_request", "the request is not a JSON object")
        self.document = document
        self.stream.logprobs = document.get("top_logprobs") is not None

    def on_cancel(self, callback):
        """Call `callback` when the client goes away; at once if it has gone already. None takes it back."""
        with self._lock:
            self._on_cancel = callback
            gone = self.cancelled.is_set()
        if gone and callback:
            callback()

    def cancel(self):
        """The client went away."""
        with self._lock:
            if self.cancelled.is_set():
                return
            self.cancelled.set()
            callback = self._on_cancel
        if callback:
            callback()

    def due(self):
        """When `tick` has something to do, on the clock of `time.monotonic`."""
        return min(self._ask_at, self.stream.due)

    def tick(self, now):
        """Look whether the client is still there; send what is due."""
        if now >= self._ask_at:
            self._ask_at = now + _ASK_EVERY_S
            with self._ending:
                # Asking a sender whose response has ended crashes the whole of Triton.
                if self._ended:
                    return
                gone = self._sender.is_cancelled()
            if gone:
                self.cancel()
                return
        self.stream.tick(now)

    def end(self):
        """No tick asks or sends anything from here on."""
        with self._ending:
            self._ended = True
        self.stream.close()


class Calls:
    """Runs `serve(call)` on a thread of its own for every request, and always ends the response.

    Args:
        serve: produces the answer on `call.stream`; may raise `RequestFailed`.
        limit: requests at one time; more end at once with `engine_busy`.
        stats: returns what the engine measures of itself, as a document; may raise OSError. Default: nothing is known.
    """

    def __init__(self, serve, limit, stats=dict):
        self._serve = serve
        self._stats = stats
        self._slots = threading.BoundedSemaphore(limit)
        self._watcher = Watcher()
        self._lock = threading.Lock()
        self._open = {}

    def start(self, requests):
        """Take Triton's requests; returns at once."""
        for request in requests:
            sender = request.get_response_sender()
            raw = bytes(pb_utils.get_input_tensor_by_name(request, "request").as_numpy().reshape(-1)[0])
            if raw.startswith(_CANCEL):
                self._cancel(json.loads(raw)["cancel"])
            elif raw.startswith(_STATS):
                threading.Thread(target=self._tell, args=(sender,), daemon=True).start()
                continue
            elif self._slots.acquire(blocking=False):
                # Known by its id before its thread runs, so that a cancel right behind it finds it.
                key, call = request.request_id(), Call(sender)
                with self._lock:
                    self._open[key] = call
                threading.Thread(target=self._run, args=(key, call, raw, sender), daemon=True).start()
                continue
            else:
                _send(sender, encode_error("engine_busy", "the engine's queue is full"))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def close(self):
        """Cancel what is open."""
        self._watcher.close()

    def _cancel(self, key):
        with self._lock:
            call = self._open.get(key)
        if call is not None:
            call.cancel()

    def _tell(self, sender):
        try:
            _send(sender, encode({"stats": self._stats()}))
        except Exception as error:
            _send(sender, encode_error("engine_failed", "the engine does not answer: %r" % error))
        finally:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _run(self, key, call, raw, sender):
        try:
            self._answer(call, raw)
        except Exception as error:
            pb_utils.Logger.log_error("a response was lost: %r" % error)
        finally:
            with self._lock:
                self._open.pop(key, None)
            self._slots.release()
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _answer(self, call, raw):
        self._watcher.watch(call)
        try:
            call.read(raw)
            self._serve(call)
        except RequestFailed as failure:
            if not call.cancelled.is_set():
                call.stream.fail(failure.code, failure.message, failure.param)
        except Exception as error:
            pb_utils.Logger.log_error("request failed: %r" % error)
            if not call.cancelled.is_set():
                call.stream.fail("engine_failed", "the engine failed")
        finally:
            self._watcher.forget(call)
            call.end()


def _send(sender, chunk):
    tensor = pb_utils.Tensor("chunk", np.array([chunk], dtype=np.object_))
    sender.send(pb_utils.InferenceResponse(output_tensors=[tensor]))
