"""Many messages of one, so that sending costs next to nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator

FIRST_NS = 10**15
"""When the first request of a message begins, as it is made."""


class Many:
    """Many messages of one: ids and times are written into its bytes anew.

    Args:
        raw: the message.
        times: moments in it, nanoseconds: no two things of it may look the same.
        layout: how a moment stands in it, as `struct` says that.
        chance: of ids.
    """

    def __init__(self, raw: bytes, times: Iterable[int], layout: str, chance: random.Random) -> None:
        self._raw, self._layout, self._chance = bytearray(raw), layout, chance
        self._times = [(place, one) for one in set(times) for place in self._places(struct.pack(layout, one))]
        self._ids: list[tuple[list[int], int, Callable[[bytes], bytes]]] = []

    def renew(self, known: bytes, size: int, spelled: Callable[[bytes], bytes] = bytes) -> None:
        """Write something else wherever an id stands: `size` random bytes, as they are spelled."""
        self._ids.append((self._places(known), size, spelled))

    def messages(self, start_ns: int, over_ns: int, number: int) -> Iterator[bytes]:
        """So many, the first of which begins at `start_ns` and the last `over_ns` later."""
        step_ns = over_ns // max(1, number)
        for at in range(number):
            for found, size, spelled in self._ids:
                made = spelled(self._chance.randbytes(size))
                for place in found:
                    self._raw[place : place + len(made)] = made
            shift = start_ns - FIRST_NS + at * step_ns
            for place, moment in self._times:
                struct.pack_into(self._layout, self._raw, place, shift + moment)
            yield bytes(self._raw)

    def _places(self, needle: bytes) -> list[int]:
        found, at = [], self._raw.find(needle)
        while at >= 0:
            found.append(at)
            at = self._raw.find(needle, at + 1)
        return found


def digits(made: bytes) -> bytes:
    """As hexadecimal digits."""
    return made.hex().encode()
