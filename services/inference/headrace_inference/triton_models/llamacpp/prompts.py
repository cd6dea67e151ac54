"""Which prompts the engine reads at one time: as many as fit into one step, or one.

The engine reads prompts one after the other anyway. One that it has taken in and not begun with notices only once a
second that nobody wants it any more; one that waits here is gone at once.
"""

import threading
from collections import deque

CHARS_PER_TOKEN = 3
"""Fewer than most text has: a prompt that is taken for longer than it is waits a step too long."""


class Reading:
    """One prompt: waiting, then being read, until `leave`."""

    def __init__(self, prompts, tokens):
        self.tokens = tokens
        self.entered = False
        self._prompts = prompts
        self._called = threading.Event()

    def wait(self):
        """Returns when it is this one's turn, or after `leave`; says whether it is its turn."""
        self._called.wait()
        return self.entered

    def leave(self):
        """It is read, or nobody wants it any more. Any number of calls, from any thread."""
        self._prompts.leave(self)
        self._called.set()

    def call(self):
        """It is this one's turn."""
        self.entered = True
        self._called.set()


class Prompts:
    """The prompts of one engine.

    Args:
        step_tokens: tokens that the engine computes in one step.
    """

    def __init__(self, step_tokens):
        self._step_tokens = step_tokens
        self._queue = deque()
        self._inside = []
        self._lock = threading.Lock()

    def ask(self, chars):
        """A place in the queue for a prompt of which `chars` characters are to be read."""
        reading = Reading(self, chars // CHARS_PER_TOKEN)
        with self._lock:
            self._queue.append(reading)
            self._serve()
        return reading

    def leave(self, reading):
        """Take a prompt out, wherever it is."""
        with self._lock:
            for place in (self._inside, self._queue):
                if reading in place:
                    place.remove(reading)
                    self._serve()

    def waiting(self):
        """How many wait."""
        with self._lock:
            return len(self._queue)

    def _serve(self):
        while self._queue:
            tokens = sum(reading.tokens for reading in self._inside) + self._queue[0].tokens
            if self._inside and tokens > self._step_tokens:
                return
            reading = self._queue.popleft()
            self._inside.append(reading)
            reading.call()
