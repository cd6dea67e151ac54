"""What guardrail checks say."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

Direction = Literal["input", "retrieved", "tool_call", "tool_result", "output"]
"""What a text is to the model."""


class Finding(Struct):
    """What was found, never the value itself. `start` and `end` are code points into the text that was sent."""

    check: str
    kind: str
    start: int = 0
    end: int = 0
    score: float = 1.0
    action: str = ""


class ReleasedText(Struct):
    """What was withheld for a person, once they approved it; it can be had until `expires_at`."""

    id: str
    policy: str
    direction: str
    text: str
    expires_at: str = ""


class Verdict(Struct):
    """The policy's verdict; `text` is what it lets through, empty when blocked."""

    action: str
    text: str = ""
    findings: list[Finding] = field(default_factory=list)
