"""What the domain needs from engines, and the plain types that travel between transports, domain and engines.

Chat messages, tools and response formats are JSON objects in OpenAI's shapes: every engine understands those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options of one generation; None means the engine's default.

    `top_logprobs` is the number of alternatives a token to report; None reports no log probabilities.
    `tool_choice` is `auto`, `none`, `required` or a function's name.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    n: int = 1
    response_format: Json | None = None
    tools: tuple[Json, ...] = ()
    tool_choice: str = ""
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One request for text: `messages`, or a bare `prompt`.

    `want_stats`: report the sum and minimum of log probabilities although none were asked for.
    `priority`: a higher one is served first.
    """

    messages: tuple[Json, ...] = ()
    prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    want_stats: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request. `cached_input_tokens` are part of `input_tokens`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a function call; `arguments` is JSON text, in a stream its next piece."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural log probability, and the alternatives at its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of choice `index`. `tokens` counts its tokens, over which the log probabilities are summed up.

    `min_logprob` is None where the engine reported no log probabilities.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str = ""
    tokens: int = 0
    sum_logprob: float = 0.0
    min_logprob: float | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One float32 little-endian L2-normalised vector a text, in the order of the texts."""

    vectors: Sequence[bytes]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Scores:
    """One score a document, in the order of the documents; higher is better."""

    scores: Sequence[float]
    usage: Usage


@dataclass(frozen=True, slots=True)
class EngineState:
    """`loading`, `ready`, `unloaded` or `failed`, and for a person why."""

    state: str
    detail: str = ""


class Engine(ABC):
    """One deployment on its engine. Methods an engine cannot do raise `BadInput` with the code `unsupported`."""

    @abstractmethod
    def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """Stream an answer while it is made.

        Order: chunks of one choice arrive in order; those of several choices are interleaved. Tokens are batched, the
        first of a choice comes at once. Each choice ends with exactly one chunk that has `finish_reason`; the stream
        ends with exactly one chunk that has `usage`, which is the last one and may be empty otherwise.
        Errors: a stream that does not end like that raises; nothing follows an error.
        Cancelling: closing the generator, or cancelling the task in it, tells the engine at once, also while the
        request waits in the engine's queue or its prompt is being read. The engine stops after the batch that it is
        computing. Whoever iterates closes.

        Raises:
            BadInput: the prompt is too long (`context_length_exceeded`), or the engine cannot do what was asked.
            Busy: the engine's own queue is full.
            NotReady: the engine is loading, unloaded or failed.
            Upstream: the engine failed, or went away in the middle.
        """

    @abstractmethod
    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """Vectors of at least one text. `truncate` cuts long ones; without it they raise BadInput. Errors as above."""

    @abstractmethod
    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Scores of `documents`, at least one, against `query`; long ones are cut. Errors as above."""

    @abstractmethod
    async def state(self) -> EngineState:
        """What the engine says of this deployment now. Raises nothing: an engine that is away is `failed`."""

    @abstractmethod
    async def load(self) -> None:
        """Load the weights; returns when the deployment is ready. Raises Upstream when that failed, with the reason."""

    @abstractmethod
    async def unload(self) -> None:
        """Free the weights. Requests in work are finished first. Raises Upstream when the engine refused."""
