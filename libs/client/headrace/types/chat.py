"""Conversations: what is asked, and what comes back whole or in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from msgspec import Struct, field

from headrace.types.documents import Span


class ChatOptions(TypedDict, total=False):
    """Keyword arguments of `chat` and `chat_stream`. What is left out takes the model's or engine's default."""

    model: str
    """A model of the config. Default `assistant`."""
    collections: Sequence[str]
    """Collections to ground the answer in."""
    guardrails: str
    """A policy to apply on top of the one in force; it can only add checks."""
    conversation_id: str
    """Keeps a conversation on one arm of a rollout."""
    user: str
    """For whom you ask. Needs a key with the scope `assert_identity`."""
    groups: Sequence[str]
    """That person's groups. Same scope."""
    cache: str
    """`bypass` skips the cache, `refresh` replaces what is in it, `use` uses it at high temperatures too."""
    route: str
    """A deployment to use instead of routing. Needs a key with the scope `admin`."""
    max_tokens: int
    """Most tokens to generate, from 1."""
    temperature: float
    """0 to 2; 0 is greedy."""
    top_p: float
    """Above 0, to 1."""
    frequency_penalty: float
    presence_penalty: float
    seed: int
    stop: Sequence[str]
    """At most 4 strings at which the answer ends."""
    n: int
    """Answers wanted. Default 1."""
    tools: Sequence[Mapping[str, Any]]
    """Functions that the model may call, in OpenAI's shape."""
    tool_choice: str
    """`auto`, `none`, `required`, or the name of a function."""
    response_format: Mapping[str, Any]
    """In OpenAI's shape: `json_object`, or `json_schema` with its schema."""
    timeout_s: float
    """Seconds for the whole answer; in a stream, for the wait for each next chunk. Default: the client's."""


class FunctionCall(Struct, omit_defaults=True):
    """The function of a tool call; in a stream, `arguments` is the next piece of its JSON text."""

    name: str | None = None
    arguments: str = ""


class ToolCall(Struct, omit_defaults=True):
    """A call that the model wants made."""

    function: FunctionCall
    id: str | None = None
    type: str = "function"
    index: int = 0


class Message(Struct, omit_defaults=True):
    """One turn. `role` is `system`, `developer`, `user`, `assistant` or `tool`."""

    role: str
    content: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None


class TokenDetails(Struct):
    """Prompt tokens that were read from a prefix cache."""

    cached_tokens: int = 0


class Usage(Struct):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: TokenDetails | None = None


class TokenCount(Struct):
    """Tokens of one attempt."""

    input_tokens: int = 0
    output_tokens: int = 0


class StageOutcome(Struct):
    """One attempt of a cascade: its deployment, and whether its answer was `accepted`, `rejected` or `failed`.

    `confidence` is the value of the signal that decided, `moment` when it did: `early`, on the beginning of the answer,
    or `after`; `error` the code of what failed. `chosen_by` tells why this deployment was taken among several:
    `weight`, `finish`, `prefix`, `conversation` or `spill`.
    """

    deployment: str = ""
    verdict: str = ""
    usage: TokenCount = field(default_factory=TokenCount)
    error: str | None = None
    signal: str | None = None
    confidence: float | None = None
    moment: str | None = None
    chosen_by: str | None = None
    cost_usd: str | None = None
    duration_ms: float | None = None


class Citation(Struct):
    """The part of a passage that supports some of the answer. `span` points into the document's stored text.

    `sentences` are places in the answer, `support` how much of the best supported of them is there, 0 to 1.
    """

    document_id: str
    span: Span
    number: int = 0
    collection: str = ""
    chunk_id: str = ""
    title: str | None = None
    page: int | None = None
    quote: str = ""
    score: float | None = None
    sentences: list[Span] = field(default_factory=list)
    support: float | None = None


class SentenceSupport(Struct):
    """A sentence of an answer, in code points of its text, and how much of it the passages hold, 0 to 1."""

    start: int
    end: int
    score: float = 0.0
    supported: bool = False
    choice: int = 0


class Grounding(Struct):
    """How far an answer is grounded in its passages. `withheld` counts sentences that did not go out."""

    score: float = 0.0
    sentences: list[SentenceSupport] = field(default_factory=list)
    withheld: int = 0


class GuardFinding(Struct):
    """What a guardrail found and did, never the text itself; `review_id` where it was given to a person."""

    direction: str = ""
    check: str = ""
    kind: str = ""
    action: str = ""
    count: int = 1
    review_id: str = ""


class Outcome(Struct):
    """What headrace did for the request."""

    request_id: str | None = None
    trace_id: str | None = None
    model: str | None = None
    deployment: str | None = None
    arm: str | None = None
    cache: str | None = None
    cost_usd: str | None = None
    stages: list[StageOutcome] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    guardrails: list[GuardFinding] = field(default_factory=list)
    saved_usd: str | None = None
    grounding: Grounding | None = None


class Choice(Struct):
    """One whole answer."""

    message: Message
    index: int = 0
    finish_reason: str | None = None


class ChatCompletion(Struct):
    """A whole answer."""

    id: str
    choices: list[Choice]
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    headrace: Outcome = field(default_factory=Outcome)

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return (self.choices[0].message.content or "") if self.choices else ""


class Delta(Struct):
    """The next piece of an answer."""

    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: str | None = None


class ChunkChoice(Struct):
    """A piece of one choice; `finish_reason` is set on its last."""

    delta: Delta = field(default_factory=Delta)
    index: int = 0
    finish_reason: str | None = None


class ChatChunk(Struct):
    """A piece of a streamed answer. `headrace` rides on the last one with a finish reason, `usage` on the last."""

    id: str = ""
    choices: list[ChunkChoice] = field(default_factory=list)
    model: str = ""
    usage: Usage | None = None
    headrace: Outcome | None = None

    @property
    def text(self) -> str:
        """New text of the first choice."""
        return next((choice.delta.content or "" for choice in self.choices if choice.index == 0), "")
