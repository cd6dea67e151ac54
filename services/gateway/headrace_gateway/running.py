"""What runs in this process, and in which of the two groups of pods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """`release` names the image as rollouts of the gateway do; `track` is `stable` or `canary`."""

    release: str = ""
    track: str = "stable"
