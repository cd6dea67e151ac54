"""What is kept of people."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Fact(Struct, omit_defaults=True):
    """Something to be known of a person. `expires_at` is a day or an RFC 3339 time."""

    text: str
    id: str | None = None
    metadata: dict[str, Any] | None = None
    expires_at: str | None = None
    searchable: bool | None = None
    updated_at: str | None = None


class KeptFacts(Struct):
    """Facts that are on disk and will be searchable, whatever crashes; their ids in the order of the call."""

    job: str
    ids: list[str]


class RecalledFact(Struct):
    """A fact that was found."""

    id: str
    text: str
    score: float
    metadata: dict[str, Any] = field(default_factory=dict)


class MemoryState(Struct):
    """What there is of a person in a memory."""

    collection: str
    user: str
    consent: bool
    consent_at: str | None = None
    facts: int = 0
    conversations: int = 0


class Said(Struct, omit_defaults=True):
    """A turn of a conversation: `role` is `user` or `assistant`."""

    role: str
    text: str
    number: int = 0
    at: str | None = None


class Conversation(Struct):
    """What a model should be told of a conversation: a summary of the turns up to `summarised`, and the newest.

    `left_out` turns are in neither; `length` counts all; `tokens` is about how many a model reads.
    """

    id: str
    length: int = 0
    summary: str = ""
    turns: list[Said] = field(default_factory=list)
    tokens: int = 0
    summarised: int = 0
    left_out: int = 0
    updated_at: str | None = None


class Erased(Struct):
    """What was removed of a person. `left` rows were still there when it was looked for them afterwards: 0."""

    user: str
    facts: int = 0
    conversations: int = 0
    turns: int = 0
    consents: int = 0
    left: int = 0
    traces: int = 0
    feedback: int = 0
