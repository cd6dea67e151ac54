"""The streaming half of the engine wire format, shared by every text-generating model.

A request is one JSON document in tensor `request`; an answer is a series of JSON documents in tensor `chunk`, each
    {"index", "text"?, "reasoning"?, "tool_calls"?, "tokens"?, "sum_logprob"?, "min_logprob"?, "logprobs"?,
     "finish_reason"?, "usage"?}                                         in order; `usage` only on the last one, or
    {"error": {"code", "message", "param"?}}                             which then is the last one, or
    {}                                                                   every 2 s without anything else: still alive.
The request {"cancel": "<id>"} on the same stream ends the request that Triton knows by that id.
A model whose process has died sends nothing any more, and Triton does not say so: silence is the sign.
"""

import json
import threading
import time

FLUSH_S = 0.02
FLUSH_TOKENS = 8
BEAT_S = 2


class _Pending:
    """What one choice has produced and not yet sent."""

    __slots__ = (
        "finish_reason",
        "logprobs",
        "min_logprob",
        "reasoning",
        "since",
        "sum_logprob",
        "text",
        "tokens",
        "tools",
    )

    def __init__(self):
        self.text = []
        self.reasoning = []
        self.tools = []
        self.logprobs = []
        self.tokens = 0
        self.sum_logprob = 0.0
        self.min_logprob = None
        self.finish_reason = None
        self.since = None

    def waited(self, now):
        """Seconds that the oldest piece has waited; below 0 when there is none."""
        return -1 if self.since is None else now - self.since

    def take(self, index):
        """The chunk document of everything pending; afterwards nothing is."""
        chunk = {"index": index}
        if self.text:
            chunk["text"] = "".join(self.text)
        if self.reasoning:
            chunk["reasoning"] = "".join(self.reasoning)
        if self.tools:
            chunk["tool_calls"] = self.tools
        if self.tokens:
            chunk["tokens"] = self.tokens
        if self.min_logprob is not None:
            chunk["sum_logprob"] = self.sum_logprob
            chunk["min_logprob"] = self.min_logprob
        if self.logprobs:
            chunk["logprobs"] = self.logprobs
        if self.finish_reason:
            chunk["finish_reason"] = self.finish_reason
        self.__init__()
        return chunk


class AnswerStream:
    """Batches tokens into chunks: the first token leaves at once, later ones every `flush_s` or `flush_tokens`.

    `add`, `end` and `fail` are called by the request's own thread, `tick` by the watcher.

    Args:
        send: takes one encoded chunk.

    Attributes:
        logprobs: report every token's log probability, not only the sums.
    """

    def __init__(self, send, flush_s=FLUSH_S, flush_tokens=FLUSH_TOKENS):
        self.logprobs = False
        self._send = send
        self._flush_s = flush_s
        self._flush_tokens = flush_tokens
        self._lock = threading.Lock()
        self._pending = {}
        self._started = set()
        self._sent_at = time.monotonic()
        self._closed = False

    def add(self, index=0, text="", reasoning="", tools=(), tokens=0, logprobs=(), finish_reason=None):
        """Take the next piece of choice `index`; `logprobs` are `{"token", "logprob", "top"}` of its tokens."""
        with self._lock:
            pending = self._pending.setdefault(index, _Pending())
            if text:
                pending.text.append(text)
            if reasoning:
                pending.reasoning.append(reasoning)
            pending.tools.extend(tools)
            pending.tokens += tokens
            for entry in logprobs:
                value = entry["logprob"]
                pending.sum_logprob += value
                pending.min_logprob = value if pending.min_logprob is None else min(pending.min_logprob, value)
                if self.logprobs:
                    pending.logprobs.append(entry)
            if finish_reason:
                pending.finish_reason = finish_reason
            if pending.since is None:
                pending.since = time.monotonic()
            visible = bool(text or reasoning or tools)
            first = visible and index not in self._started
            if first:
                self._started.add(index)
            if first or pending.tokens >= self._flush_tokens or time.monotonic() - pending.since >= self._flush_s:
                self._flush(index)

    def tick(self, now):
        """Send what has waited long enough, and a sign of life; `now` is `time.monotonic()`."""
        with self._lock:
            if self._closed:
                return
            due = [index for index, pending in self._pending.items() if pending.waited(now) >= self._flush_s]
            for index in due:
                self._flush(index)
            if not due and now - self._sent_at >= BEAT_S:
                self._sent_at = now
                self._send(b"{}")

    def close(self):
        """Nothing is sent from here on."""
        with self._lock:
            self._closed = True

    def end(self, usage):
        """Send what is pending, with `usage` on the last chunk."""
        with self._lock:
            chunks = [self._pending[index].take(index) for index in sorted(self._pending) if self._pending[index].since]
            if not chunks:
                chunks = [{"index": 0}]
            chunks[-1]["usage"] = usage
            self._pending.clear()
            for chunk in chunks:
                self._send(encode(chunk))

    def fail(self, code, message, param=None):
        """Send what is pending, then the error."""
        with self._lock:
            for index in sorted(self._pending):
                if self._pending[index].since:
                    self._flush(index)
            self._pending.clear()
            self._send(encode_error(code, message, param))

    def _flush(self, index):
        self._sent_at = time.monotonic()
        self._send(encode(self._pending[index].take(index)))


def encode(document):
    """JSON as UTF-8 bytes; lone surrogates of a cut token become replacement characters."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_error(code, message, param=None):
    """The chunk that ends a stream with an error."""
    error = {"code": code, "message": message}
    if param:
        error["param"] = param
    return encode({"error": error})


class Watcher:
    """One thread that looks after all open requests.

    Args:
        period_s: time between two looks, in seconds.
    """

    def __init__(self, period_s=0.01):
        self._period_s = period_s
        self._lock = threading.Lock()
        self._watched = set()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def watch(self, call):
        """Call `call.tick(now)` every `period_s`, until `forget`."""
        with self._lock:
            self._watched.add(call)
        self._wake.set()

    def forget(self, call):
        """The request has ended. One more tick may be on its way."""
        with self._lock:
            self._watched.discard(call)

    def close(self):
        """End the thread and `cancel()` what is open."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        with self._lock:
            watched = list(self._watched)
        for call in watched:
            call.cancel()

    def _run(self):
        while not self._closed:
            self._wake.wait()
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._wake.clear()
            now = time.monotonic()
            for call in watched:
                call.tick(now)
            time.sleep(self._period_s)
