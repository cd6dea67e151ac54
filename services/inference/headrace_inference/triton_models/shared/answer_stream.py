"""The streaming half of the engine wire format, shared by every text-generating model.

A request is one JSON document in tensor `request`; an answer is a series of JSON documents in tensor `chunk`, each
    {"index", "text"?, "reasoning"?, "tool_calls"?, "tokens"?, "sum_logprob"?, "min_logprob"?, "logprobs"?,
     "finish_reason"?, "prompt"?, "usage"?}                              in order; `usage` only on the last one, or
    {"error": {"code", "message", "param"?}}                             which then is the last one, or
    {}                                                                   every 2 s without anything else: still alive.
The request {"cancel": "<id>"} on the same stream ends the request that Triton knows by that id.
The request {"stats": true} is answered by one document, {"stats": {"running"?, "waiting"?, "kv_cache_used"?}}.
A model whose process has died sends nothing any more, and Triton does not say so: silence is the sign.
"""

import json
import threading
import time

FLUSH_S = 0.05
"""Shortest time between two chunks of a choice: a chunk costs the processes on its way as much as several tokens."""

HOLD_S = 0.2
"""Longest that a piece is held for the next one: with many streams in the engine each gets a token every 100 ms or so,
and two of them share a chunk."""

FLUSH_TOKENS = 16
BEAT_S = 2
LOOK_S = 0.05
"""Longest time between two looks of the watcher while requests are open; below `HOLD_S`, so that it is never late."""

_LEAST_PAUSE_S = 0.01


class _Pending:
    """What one choice has produced and not yet sent."""

    __slots__ = (
        "finish_reason",
        "last_at",
        "logprobs",
        "min_logprob",
        "prompt",
        "reasoning",
        "sent_at",
        "since",
        "some",
        "sum_logprob",
        "text",
        "tokens",
        "tools",
    )

    def __init__(self, sent_at):
        self.sent_at = self.last_at = self.since = sent_at
        self.clear()

    def clear(self):
        """Nothing is pending."""
        self.some = False
        self.text = []
        self.reasoning = []
        self.tools = []
        self.logprobs = []
        self.tokens = 0
        self.sum_logprob = 0.0
        self.min_logprob = None
        self.finish_reason = None
        self.prompt = None

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
        if self.prompt:
            chunk["prompt"] = self.prompt
        self.clear()
        return chunk


class AnswerStream:
    """Batches pieces into chunks: the first of a choice leaves at once.

    Later ones leave together, at least two, with the piece that comes `flush_s` after the last chunk or makes them
    `flush_tokens`. No piece waits longer than `hold_s` for the next; where the last two came further apart, it does not
    wait at all. `add`, `end` and `fail` are called by the request's own thread, `tick` by the watcher.

    Args:
        send: takes one encoded chunk.
        flush_s: seconds between two chunks of a choice.
        hold_s: seconds that a piece may wait.
        flush_tokens: tokens that leave at once.

    Attributes:
        logprobs: report every token's log probability, not only the sums.
        due: when `tick` has something to do, on the clock of `time.monotonic`.
    """

    def __init__(self, send, flush_s=FLUSH_S, hold_s=HOLD_S, flush_tokens=FLUSH_TOKENS):
        self.logprobs = False
        self._send = send
        self._flush_s = flush_s
        self._hold_s = hold_s
        self._flush_tokens = flush_tokens
        self._lock = threading.Lock()
        self._pending = {}
        self._started = set()
        self._closed = False
        self.due = time.monotonic() + BEAT_S

    def add(self, index=0, text="", reasoning="", tools=(), tokens=0, logprobs=(), finish_reason=None, prompt=None):
        """Take the next piece of choice `index`; `logprobs` are `{"token", "logprob", "top"}` of its tokens.

        `prompt` is `{"input_tokens", "cached_input_tokens"}`, with the first piece, where the engine tells that early.
        """
        now = time.monotonic()
        with self._lock:
            pending = self._pending.get(index)
            if pending is None:
                pending = self._pending[index] = _Pending(now)
            alone = not pending.some
            pending.some = True
            if text:
                pending.text.append(text)
            if reasoning:
                pending.reasoning.append(reasoning)
            if tools:
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
            if prompt:
                pending.prompt = prompt
            first = index not in self._started and bool(text or reasoning or tools)
            if first:
                self._started.add(index)
            slow = now - pending.last_at > self._hold_s
            pending.last_at = now
            if first or slow or pending.tokens >= self._flush_tokens:
                self._flush(index, pending, now)
            elif alone:
                pending.since = now
                self.due = min(self.due, now + self._hold_s)
            elif now >= pending.sent_at + self._flush_s:
                self._flush(index, pending, now)

    def tick(self, now):
        """Send what has waited long enough, and a sign of life; `now` is `time.monotonic()`."""
        with self._lock:
            if self._closed:
                return
            if now < self.due:
                return
            waiting = [(index, pending) for index, pending in self._pending.items() if pending.some]
            if not waiting:
                self.due = now + BEAT_S
                self._send(b"{}")
                return
            for index, pending in waiting:
                if now >= pending.since + self._hold_s:
                    self._flush(index, pending, now)
            self._look_again(now)

    def close(self):
        """Nothing is sent from here on."""
        with self._lock:
            self._closed = True

    def end(self, usage):
        """Send what is pending, with `usage` on the last chunk."""
        with self._lock:
            chunks = [self._pending[index].take(index) for index in sorted(self._pending) if self._pending[index].some]
            if not chunks:
                chunks = [{"index": 0}]
            chunks[-1]["usage"] = usage
            self._pending.clear()
            for chunk in chunks:
                self._send(encode(chunk))

    def fail(self, code, message, param=None):
        """Send what is pending, then the error."""
        with self._lock:
            now = time.monotonic()
            for index in sorted(self._pending):
                if self._pending[index].some:
                    self._flush(index, self._pending[index], now)
            self._pending.clear()
            self._send(encode_error(code, message, param))

    def _flush(self, index, pending, now):
        pending.sent_at = now
        self._send(encode(pending.take(index)))
        self._look_again(now)

    def _look_again(self, now):
        due = now + BEAT_S
        for pending in self._pending.values():
            if pending.some:
                due = min(due, pending.since + self._hold_s)
        self.due = due


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
    """One thread that looks after all open requests."""

    def __init__(self):
        self._lock = threading.Lock()
        self._watched = set()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def watch(self, call):
        """Call `call.tick(now)` soon after `call.due()`, again and again until `forget`."""
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
            again = now + LOOK_S
            for call in watched:
                if now >= call.due():
                    call.tick(now)
                again = min(again, call.due())
            time.sleep(max(_LEAST_PAUSE_S, again - time.monotonic()))
