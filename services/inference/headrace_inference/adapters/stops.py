"""Stop strings, for engines that do not look for them."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Lets text through up to the first stop string; what may be the beginning of one is held back.

    Attributes:
        found: a stop string was there; nothing goes through any more.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found = False
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> str:
        """The part of what was fed that cannot belong to a stop string."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        at = min((place for stop in self._stops if (place := text.find(stop)) >= 0), default=-1)
        if at >= 0:
            self.found = True
            self._held = ""
            return text[:at]
        longest = max(len(stop) for stop in self._stops) - 1
        for keep in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-keep:]) for stop in self._stops):
                self._held = text[-keep:]
                return text[:-keep]
        self._held = ""
        return text

    def rest(self) -> str:
        """What is held back when the answer has ended without a stop string."""
        held, self._held = self._held, ""
        return held
