"""What a cascade makes of the attempt that answers a stage: written by the cascade, read when the attempt ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Review:
    """The verdict on one stage's answer; `accepted` is None until there is one.

    `signal` and `value` are what decided, `moment` when: `early`, on the beginning of the answer, or `after`. An answer
    that ends without a verdict was not accepted.
    """

    accepted: bool | None = None
    signal: str = ""
    value: float | None = None
    moment: str = ""
    judges: bool = False
    """The attempt only judges another one's answer."""
    helps: bool = False
    """The attempt makes no answer, but what one is made from."""

    def decide(self, accepted: bool, signal: str, value: float | None, moment: str) -> bool:
        """Set the verdict, and return it."""
        self.accepted, self.signal, self.value, self.moment = accepted, signal, value, moment
        return accepted
