"""What the domain needs from engines, and the plain types that travel between transports, domain and engines.

Chat messages, tools and response formats are JSON objects in OpenAI's shapes: every engine understands those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import BadInput

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
    """OpenAI's object, or `{"type": "regex", "regex": ...}`: the whole answer matches."""
    tools: tuple[Json, ...] = ()
    tool_choice: str = ""
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One request for text: `messages`, or a bare `prompt`.

    A message's `content` is a string, or OpenAI's list of parts (`text`, `image_url`, `input_audio`) where there are
    images or audio; images are data URLs by the time an engine sees them.

    `want_stats`: report the sum and minimum of log probabilities although none were asked for.
    `priority`: a higher one is served first.
    `tenant`: whose prompt it is: a prefix cache must not tell one tenant of another's. Empty: the platform's own, and
    what it leaves in the cache may serve everybody.
    `adapter`: name of a LoRA adapter of the deployment; empty for none.
    `max_draft_tokens`: speculation for this request; None: as the deployment says, 0: none.
    `continue_from`: the answer's own beginning, made by another engine: it is gone on from and not repeated.
    """

    messages: tuple[Json, ...] = ()
    prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    want_stats: bool = False
    priority: int = 0
    tenant: str = ""
    adapter: str = ""
    max_draft_tokens: int | None = None
    continue_from: str = ""

    @property
    def measured(self) -> bool:
        """Whether log probabilities were asked for, each or summed up."""
        return self.want_stats or self.sampling.top_logprobs is not None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request. Those read from and written to a prefix cache are part of `input_tokens`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
    cache_write_input_tokens: int = 0


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

    `min_logprob` is None where the engine reported no log probabilities. `prompt` is the prompt's part of the
    usage, with the first piece, where the engine tells it that early.
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
    prompt: Usage | None = None


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
class Labels:
    """For each text its probability of each label, in the order of the texts."""

    scores: Sequence[Mapping[str, float]]
    usage: Usage


@dataclass(frozen=True, slots=True)
class EngineState:
    """`loading`, `ready`, `unloaded` or `failed`, and for a person why."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine measures of itself; None where it does not tell.

    `kv_cache_used` is a share from 0 to 1. `running` and `waiting` count the engine's own requests, from whomever.
    `draft_acceptance` is the share of draft tokens that were accepted lately, over all requests: for engines that do
    not report it with each answer's usage.
    """

    kv_cache_used: float | None = None
    running: int | None = None
    waiting: int | None = None
    draft_acceptance: float | None = None


class Engine(ABC):
    """One deployment on its engine. Methods an engine cannot do raise `BadInput` with the code `unsupported`.

    There is no `cancel`: closing or cancelling what a method returned is the cancel, so that none can be forgotten.
    """

    takes_over: ClassVar[bool] = False
    """Whether `load` puts a new version in the place of the one that serves under the same name, which then ends its
    streams by itself: the engine object before must not be unloaded. Else two objects are two loaded models."""

    def check(self, generation: Generation) -> None:  # noqa: B027, an engine that takes everything has nothing to check
        """Refuse what this engine cannot do, before the request queues. Does no I/O.

        Raises:
            BadInput: `unsupported`; `param` names the field.
        """

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
        raise _cannot("generate")

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """Vectors of at least one text. `truncate` cuts long ones; without it they raise BadInput. Errors as above."""
        raise _cannot("embed")

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Scores of `documents`, at least one, against `query`; long ones are cut. Errors as above."""
        raise _cannot("rerank")

    async def classify(self, texts: Sequence[str]) -> Labels:
        """Probabilities of the deployment's labels for at least one text; long ones are cut. Errors as above."""
        raise _cannot("classify")

    async def stats(self) -> EngineStats:
        """What the engine measures of itself now. Raises nothing: what cannot be had is None."""
        return EngineStats()

    @abstractmethod
    async def health(self) -> EngineState:
        """What the engine says of this deployment now. Raises nothing: an engine that is away is `failed`."""

    @abstractmethod
    async def load(self) -> None:
        """Load the weights; returns when the deployment is ready. Raises Upstream when that failed, with the reason."""

    @abstractmethod
    async def unload(self) -> None:
        """Free the weights. Requests in work are finished first. Raises Upstream when the engine refused.

        Raises BadInput (`unsupported`) where the engine keeps its weights as long as it runs.
        """

    async def close(self) -> None:  # noqa: B027, most engines share what they are reached by
        """Let go of connections. Nothing is called afterwards."""


class Preparation(Protocol):
    """What was made ready for a load that comes now."""

    @property
    def changed(self) -> bool:
        """Whether it differs from what was made ready last."""

    async def keep(self) -> None:
        """The load went well: what it replaced may go."""

    async def undo(self) -> None:
        """The load failed: what it should have replaced is the newest again."""


class Artefacts(Protocol):
    """What engines load: files on this machine, and models in Triton's repository."""

    async def prepare(self, snapshot: Snapshot, name: str, *, anew: bool) -> Preparation:
        """Fetch a deployment's files where they are missing, and render it.

        `anew`: as a new version, although nothing changed.

        Raises:
            HeadraceError: a file cannot be had, the deployment cannot be rendered, or the machine has too little
                memory for it; the message says which.
        """

    async def remove(self, name: str) -> None:
        """Remove what was rendered for a deployment that is no longer wanted."""


def _cannot(task: str) -> BadInput:
    return BadInput(f"this deployment's engine cannot {task}", code="unsupported", param="deployment")
