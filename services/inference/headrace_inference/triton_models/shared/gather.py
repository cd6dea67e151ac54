"""What many requests of one client have to say in the same moment, sent in one response.

An engine that batches makes a token for each of its requests at once. A response for each would cost more than the
model's server, so one of the requests carries what all of them have to say, as frames: a byte 1, then for each piece
the id of its request, its number among the pieces of that request, its length, and itself. Pieces of a request may
overtake each other, for several requests carry them; the last one is empty.
"""

import contextlib
import struct
import threading
import time

MARK = b"\x01"
FRAME = struct.Struct(">16sII")

GATHER_S = 0.002
"""Longest time that a piece is held back: tokens of one step come within less."""

FROM = 3
"""Requests in work from which on pieces are held back."""


def frames(pieces):
    """One document of `(id, number, piece)`."""
    parts = [MARK]
    for key, number, piece in pieces:
        parts.append(FRAME.pack(key, number, len(piece)))
        parts.append(piece)
    return b"".join(parts)


class Member:
    """A request that may carry what others say.

    Args:
        key: its id, 16 bytes.
        send: sends a document in a response to it.

    Attributes:
        leaving: its client has left, so that it had better carry nothing.
        number: pieces that it has said.
    """

    def __init__(self, key, send):
        self.key = key
        self.send = send
        self.leaving = False
        self.number = 0


class Outbox:
    """What the requests of one client have to say.

    A request's first piece and its last ones leave at once, and take along what waits.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._members = []
        self._pieces = []
        self._wanted = threading.Event()
        self._closed = False
        threading.Thread(target=self._run, name="gather", daemon=True).start()

    def join(self, member):
        """A request has begun. It must `leave`."""
        with self._lock:
            self._members.append(member)

    def put(self, member, piece):
        """Say something in the name of a request."""
        with self._lock:
            first = member.number == 0
            self._append(member, piece)
            alone = len(self._members) < FROM
        if first or alone:
            self._send(member)
        else:
            self._wanted.set()

    def leave(self, member):
        """The request has said everything; nothing is sent in response to it from here on."""
        with self._lock:
            self._append(member, b"")
        try:
            self._send(member)
        finally:
            with self._sending, self._lock:
                self._members.remove(member)

    def idle(self):
        """Whether no request is in work."""
        with self._lock:
            return not self._members

    def close(self):
        """End the thread."""
        self._closed = True
        self._wanted.set()

    def _append(self, member, piece):
        self._pieces.append((member.key, member.number, piece))
        member.number += 1

    def _send(self, member=None):
        """Send what waits, in a response to `member` or to anybody."""
        with self._sending:
            with self._lock:
                if not self._pieces:
                    return
                pieces, self._pieces = self._pieces, []
                staying = [one for one in self._members if not one.leaving]
                if member is None or (member.leaving and staying):
                    member = staying[0] if staying else self._members[0]
            member.send(frames(pieces))

    def _run(self):
        while not self._closed:
            self._wanted.wait()
            self._wanted.clear()
            time.sleep(GATHER_S)
            # Where the carrier's response is broken, those who wait for these pieces see that one is missing.
            with contextlib.suppress(Exception):
                self._send()
