"""Key-value caches of prompts that have left their slots, by tenant, in memory outside the engine's cache.

The engine's own store of this kind knows no tenants: it gives to one what another computed. This one uses the engine's
commands that write a slot's cache to a file and read it back; the files are anonymous memory of the engine's process,
which nobody else can open and which goes with it.
"""

import os
import threading

from .slots import shared, usable

FILES = 64
"""Most entries."""

FOLDER = "/proc/self/fd/"
"""Where the engine finds its files."""


def vault(count=FILES):
    """Paths, for any process of this user, of `count` empty files in the memory of this one."""
    return ["/proc/%d/fd/%d" % (os.getpid(), os.memfd_create("prefix")) for _ in range(count)]


def name(path):
    """The engine's name of a file."""
    return path.rpartition("/")[2]


def forget(paths):
    """Free the memory of a `vault` of this process."""
    for path in paths:
        os.truncate(path, 0)


class Entry:
    """A prefix that is kept. While `readers` is above 0 it is being read."""

    def __init__(self, path, content, size):
        self.path = path
        self.content = content
        self.size = size
        self.readers = 0
        self.used = 0


class Prefixes:
    """What is kept, within a limit; what was not used for longest goes first, and the platform's own last.

    Args:
        paths: files for it, see `vault`.
        limit: in bytes.
    """

    def __init__(self, paths, limit):
        self._free = list(paths)
        self._limit = limit
        self._entries = []
        self._lock = threading.Lock()
        self._clock = 0
        self._bytes_per_token = 0.0

    def find(self, wanted, least):
        """The entry with the longest beginning of a request's prompt, of at least `least` characters, or None.

        `done` must be called for it.
        """
        with self._lock:
            best, common = None, least - 1
            for entry in self._entries:
                if usable(entry.content, wanted):
                    found = shared(entry.content.text, wanted.text)
                    if found > common:
                        best, common = entry, found
            if best is not None:
                self._clock += 1
                best.readers += 1
                best.used = self._clock
            return best

    def done(self, entry, broken=False):
        """An entry of `find` was read; `broken`: it could not be."""
        with self._lock:
            entry.readers -= 1
            if broken and entry in self._entries:
                self._entries.remove(entry)
            if not entry.readers and entry not in self._entries:
                self._clear(entry.path)

    def has(self, content):
        """Whether all of `content` is kept."""
        with self._lock:
            return any(
                entry.content[:2] == content[:2] and entry.content.text.startswith(content.text)
                for entry in self._entries
            )

    def room(self, content):
        """A path to write `content` to, or None where it does not fit. `add` or `give_back` must follow."""
        with self._lock:
            size = content.tokens * self._bytes_per_token
            if size > self._limit or not self._make_room(size):
                return None
            return self._free.pop()

    def add(self, path, content, size):
        """`content` was written to `path`, `size` bytes of it."""
        with self._lock:
            self._bytes_per_token = size / max(1, content.tokens)
            for entry in list(self._entries):
                begins = entry.content[:2] == content[:2] and content.text.startswith(entry.content.text)
                if begins and not entry.readers:
                    self._drop(entry)
            entry = Entry(path, content, size)
            self._clock += 1
            entry.used = self._clock
            self._entries.append(entry)
            if size > self._limit or not self._make_room(0):
                self._drop(entry)

    def give_back(self, path):
        """Nothing was written to `path`."""
        with self._lock:
            self._clear(path)

    def _make_room(self, size):
        """Let entries go until `size` more bytes and one more file fit; says whether they do."""
        while not self._free or sum(entry.size for entry in self._entries) + size > self._limit:
            idle = [entry for entry in self._entries if not entry.readers]
            if not idle:
                return False
            self._drop(min(idle, key=lambda entry: (entry.content.tenant == "", entry.used)))
        return True

    def _drop(self, entry):
        self._entries.remove(entry)
        self._clear(entry.path)

    def _clear(self, path):
        try:
            os.truncate(path, 0)
        except OSError:  # the engine is gone, and its memory with it
            return
        self._free.append(path)
