"""Which prompts the engine has at one time: those that it will have read after the next step, and one more.

The engine reads prompts one after the other anyway. One that it has taken in and not begun with notices only once a
second that nobody wants it any more; one that waits here is gone at once. But when the engine has read a prompt, the
next one must be there: it would make a step without any.
"""

import threading
from collections import deque

CHARS_PER_TOKEN = 3
"""Fewer than most text has: a prompt that is taken for longer than it is waits a step too long."""


class Reading:
    """One prompt: waiting, then being read, until `leave`.

    Attributes:
        tokens: how many of it are still to be read.
        entered: whether it is its turn.
    """

    def __init__(self, prompts, tokens):
        self.tokens = tokens
        self.entered = False
        self._prompts = prompts
        self._called = threading.Event()

    def wait(self):
        """Returns when it is this one's turn, or after `leave`; says whether it is its turn."""
        self._called.wait()
        return self.entered

    def read_to(self, left):
        """The engine has read some of it, and has `left` tokens to read."""
        self._prompts.read_to(self, left)

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

    def read_to(self, reading, left):
        """So many tokens of a prompt are still to be read."""
        with self._lock:
            reading.tokens = left
            self._serve()

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
        while self._queue and sum(reading.tokens for reading in self._inside) <= self._step_tokens:
            reading = self._queue.popleft()
            self._inside.append(reading)
            reading.call()
