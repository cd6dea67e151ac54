"""Requests that are the same and come at the same time: one is answered, the others wait for its answer."""

from __future__ import annotations

import asyncio

from headrace_gateway.cache.entry import Entry


class Flight:
    """An answer that is being made. `entry` is there once it is whole and may be shared."""

    def __init__(self) -> None:
        self.landed = asyncio.Event()
        self.entry: Entry | None = None


class Flights:
    """The answers that are being made in this process, by key."""

    def __init__(self) -> None:
        self._open: dict[str, Flight] = {}

    def get(self, key: str) -> Flight | None:
        """The flight with this key."""
        return self._open.get(key)

    def begin(self, key: str) -> Flight:
        """Begin one; whoever does lands it, whatever happens."""
        made = self._open[key] = Flight()
        return made

    def land(self, key: str, flight: Flight, entry: Entry | None) -> None:
        """Those that wait go on: with the answer, or, where it did not become whole, on their own.

        One with an answer stays until `close`: whoever comes before the answer is in the store finds it here.
        """
        flight.entry = entry
        flight.landed.set()
        if entry is None:
            self.close(key, flight)

    def close(self, key: str, flight: Flight) -> None:
        """Forget a flight."""
        if self._open.get(key) is flight:
            del self._open[key]
