"""Which of the engine's slots a request gets: first come, first served; the longest prefix of its tenant's; no other's.

A slot holds the key-value cache of the last prompt and answer in it, and the engine computes only what a new prompt has
beyond that. How fast it begins to answer tells whether somebody asked the same before, so what one tenant left is never
used for another. What the platform's own prompts left (tenant "") is for everybody.
"""

import threading
from collections import deque, namedtuple

MIN_SHARED = 256
"""Characters from which on a common beginning is worth looking for its slot."""

MIN_KEPT_TOKENS = 128
"""What is shorter is not kept outside its slot: computing it again costs about as much as moving it."""

Wanted = namedtuple("Wanted", "tenant adapter text answers")
"""A request: whose, under which adapter, its prompt as text, and how many answers."""

Content = namedtuple("Content", "tenant adapter text tokens")
"""What a slot holds."""

UNKNOWN = Content(None, None, "", 0)
"""Of a slot whose request failed on the way: nobody's."""


def usable(content, wanted):
    """Whether a request may see, by its speed, what `content` is."""
    return content is not None and content.tenant in (wanted.tenant, "") and content.adapter == wanted.adapter


def shared(one, other):
    """Characters that two texts have in common at their beginning."""
    if other.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Slot:
    def __init__(self, number):
        self.number = number
        self.busy = False
        self.content = None
        self.used = 0


class Lease:
    """A slot, and further ones for the other answers, until `Slots.release`.

    Attributes:
        number: the engine's number of it.
        others: numbers of the slots that the engine takes for further answers.
        keep: the `Content` in it that is worth keeping before it goes, or None.
        restore: the entry of `Prefixes` to put into it first, or None.
        reuse: whether the request may build on what is in it.
        fresh: characters of the prompt that are not in it.
    """

    def __init__(self, wanted, number, others, keep, restore, reuse, fresh):
        self.wanted = wanted
        self.number = number
        self.others = others
        self.keep = keep
        self.restore = restore
        self.reuse = reuse
        self.fresh = fresh


class Ticket:
    """A place in the queue for a lease."""

    def __init__(self, slots, wanted):
        self.wanted = wanted
        self.lease = None
        self._slots = slots
        self._called = threading.Event()

    def wait(self):
        """The lease, or None after `leave`."""
        self._called.wait()
        return self.lease

    def leave(self):
        """Give the place up, whoever waits; without effect once there is a lease."""
        self._slots.leave(self)
        self._called.set()

    def call(self, lease):
        """It is this one's turn."""
        self.lease = lease
        self._called.set()


class Slots:
    """The slots of one engine. All requests to it must go through the same object.

    Args:
        count: how many the engine has.
        prefixes: a `Prefixes` to keep what slots can hold no longer, or None.
        reuse: whether requests may build on earlier ones at all.
    """

    def __init__(self, count, prefixes=None, reuse=True):
        self._slots = [_Slot(number) for number in range(count)]
        self._prefixes = prefixes
        self._reuse = reuse
        self._lock = threading.Lock()
        self._queue = deque()
        self._clock = 0

    def ask(self, wanted):
        """A ticket for a request of at most as many answers as there are slots."""
        ticket = Ticket(self, wanted)
        with self._lock:
            self._queue.append(ticket)
            self._serve()
        return ticket

    def leave(self, ticket):
        """Take a ticket out of the queue, if it is still in there."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
                self._serve()

    def release(self, lease, content):
        """Give a lease back; `content` is what its slot holds now."""
        with self._lock:
            self._clock += 1
            for number in lease.others:
                self._slots[number].busy = False
            slot = self._slots[lease.number]
            slot.busy, slot.content, slot.used = False, content, self._clock
            self._serve()

    def worth_keeping(self, content):
        """Whether `content` should be kept before something else takes its slot."""
        with self._lock:
            return self._worth(content) is not None

    def hold(self, number, content):
        """Keep requests out of a slot that nobody uses; says whether it still holds just `content` and is held now."""
        with self._lock:
            slot = self._slots[number]
            if slot.busy or slot.content is not content or self._worth(content) is None:
                return False
            slot.busy = True
            return True

    def let_go(self, number):
        """Let requests into a slot again."""
        with self._lock:
            self._slots[number].busy = False
            self._serve()

    def counts(self):
        """Slots in use, and requests that wait."""
        with self._lock:
            return sum(slot.busy for slot in self._slots), len(self._queue)

    def _serve(self):
        while self._queue:
            free = [slot for slot in self._slots if not slot.busy]
            wanted = self._queue[0].wanted
            if len(free) < wanted.answers:
                return
            self._queue.popleft().call(self._lease(wanted, free))

    def _lease(self, wanted, free):
        slot, keep, entry, reuse, common = self._choose(wanted, free)
        # The engine takes the first free slots for further answers, and empties them afterwards.
        others = [other for other in free if other is not slot][: wanted.answers - 1]
        for taken in (slot, *others):
            taken.busy, taken.content = True, None
        return Lease(
            wanted, slot.number, [other.number for other in others], keep, entry, reuse, len(wanted.text) - common
        )

    def _choose(self, wanted, free):
        best, common = None, MIN_SHARED - 1
        entry = None
        if self._reuse:
            for slot in free:
                if usable(slot.content, wanted):
                    found = shared(slot.content.text, wanted.text)
                    if found > common:
                        best, common = slot, found
            if self._prefixes:
                entry = self._prefixes.find(wanted, common + MIN_SHARED)
        if entry is None and best is not None:
            rest = len(best.content.text) - common
            return best, self._worth(best.content) if rest > common else None, None, True, common
        slot = min(free, key=lambda slot: (slot.content is not None, slot.used))
        reuse = self._reuse and (entry is not None or usable(slot.content, wanted))
        common = 0 if entry is None else shared(entry.content.text, wanted.text)
        return slot, self._worth(slot.content), entry, reuse, common

    def _worth(self, content):
        """`content`, if it should be kept before something else takes its slot."""
        if content is None or content.tokens < MIN_KEPT_TOKENS or not self._prefixes:
            return None
        return None if self._prefixes.has(content) else content
