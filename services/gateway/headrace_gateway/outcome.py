"""What headrace did for a request, as the caller reads it: the `headrace` object of an answer."""

from __future__ import annotations

from functools import lru_cache

from msgspec import UNSET, Struct, UnsetType, field

_NANO = 1_000_000_000


class TokenCount(Struct):
    """Tokens of one attempt."""

    input_tokens: int = 0
    output_tokens: int = 0


class StageOutcome(Struct, omit_defaults=True):
    """One attempt: `verdict` is `accepted`, `rejected`, `failed`, `lost` to a hedge, or `judged`: it only judged the
    answer of another one, or `helped`: it made what an answer is made from.

    `confidence` is the value of `signal`.

    `chosen_by` tells why this deployment was taken among several: `weight`, `finish` (it finishes first), `prefix` or
    `conversation` (it has the prompt's beginning in its cache), `spill` (the one that has it is too busy).
    `moment` is when a cascade decided: `early`, on the beginning of the answer, or `after`.
    `reason` is why it was made at all, where it was not the first of its stage: `retry`, `fallback`, `hedge`,
    `continuation`.
    """

    deployment: str
    verdict: str
    usage: TokenCount
    cost_usd: str
    duration_ms: float
    signal: str | None = None
    confidence: float | None = None
    moment: str | None = None
    error: str | None = None
    chosen_by: str | None = None
    reason: str | None = None


class Span(Struct):
    """Unicode code points into the document's stored text, end exclusive."""

    start: int
    end: int


class Citation(Struct, omit_defaults=True):
    """The part of a passage that supports some of the answer, resolved to its exact place.

    `sentences` are places in the answer, `support` how much of the best supported of them is there, 0 to 1.
    """

    number: int
    collection: str
    document_id: str
    chunk_id: str
    span: Span
    quote: str
    score: float
    title: str | None = None
    page: int | None = None
    sentences: list[Span] = field(default_factory=list)
    support: float = 0.0


class SentenceSupport(Struct, omit_defaults=True):
    """A sentence of an answer, `start` to `end` in code points of its text, and how much of it the passages hold."""

    start: int
    end: int
    score: float
    supported: bool = False
    choice: int = 0


class Grounding(Struct, omit_defaults=True):
    """How far an answer is grounded in its passages: the mean over its sentences, and each of them.

    `withheld` counts the sentences that did not go out.
    """

    score: float
    sentences: list[SentenceSupport] = field(default_factory=list)
    withheld: int = 0


class GuardFinding(Struct, omit_defaults=True):
    """What a guardrail found and did, never the text."""

    direction: str
    check: str
    kind: str
    action: str
    count: int
    shadow: bool = False
    """The policy only looked on: the action is what it would have done."""
    review_id: str = ""
    """Names the item in the review queue, where what was found was given to a person."""

    @property
    def label(self) -> str:
        """How events and spans write it, for example `pii.email:mask`."""
        return f"{self.check}.{self.kind}:{'would_' if self.shadow else ''}{self.action}"


class LowConfidenceOutcome(Struct):
    """The last stage was not sure. `value` is that of `signal`, None where the engine did not tell.

    `then` is what happened: `answer`, it was given nevertheless; `say`, the model's own words in its place;
    `hand_over`, the same, and a person is to answer.
    """

    signal: str
    then: str
    value: float | None = None


class Outcome(Struct):
    """The `headrace` object. Filled in while the request goes on; whole at its end.

    `saved_usd` is what an answer from the cache did not cost again; only such an answer has it.
    `grounding` is there where passages stood in the prompt.
    """

    request_id: str = ""
    trace_id: str = ""
    model: str = ""
    deployment: str = ""
    arm: str = "baseline"
    cache: str = "bypass"
    cost_usd: str = "0"
    stages: list[StageOutcome] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    guardrails: list[GuardFinding] = field(default_factory=list)
    saved_usd: str | UnsetType = UNSET
    low_confidence: LowConfidenceOutcome | UnsetType = UNSET
    grounding: Grounding | UnsetType = UNSET


@lru_cache(4096)
def usd(nano_usd: int) -> str:
    """Decimal US dollars without exponent or trailing zeros, for example `0.000123`."""
    if not nano_usd:
        return "0"
    sign = "-" if nano_usd < 0 else ""
    whole, rest = divmod(abs(nano_usd), _NANO)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")
