"""What the pipeline and the transports need from outside. Adapters fulfil these; tests use fakes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace_gateway.context import RequestContext
from headrace_gateway.routing.plan import Pool, Target
from headrace_kit.errors import Upstream
from headrace_kit.rpc.call import Identity
from headrace_kit.telemetry.requests import Hop
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.inference.v1 import messages_pb2 as inference
from headrace_protos.retrieval.v1 import memory_pb2 as memory
from headrace_protos.retrieval.v1 import messages_pb2 as retrieval

if TYPE_CHECKING:
    from headrace_gateway.resilience.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Envelope:
    """What travels with a call to another service. `deadline` is on the clock of `time.monotonic`.

    `attempt` names the attempt that an engine is called for: inference tells what it used by that name.
    """

    identity: Identity
    request_id: str
    deadline: float | None
    config_hash: str
    traceparent: str
    attempt: str = ""


def envelope(ctx: RequestContext, hop: Hop, attempt: str = "") -> Envelope:
    """The envelope of a call made in step `hop` of a request: its server span hangs under that step."""
    return Envelope(ctx.identity, ctx.request_id, ctx.deadline, ctx.table.hash, ctx.traceparent(hop.span_id), attempt)


def attempt_name(request_id: str, stage: int, attempt: int) -> str:
    """The name of an attempt for inference."""
    return f"{request_id}/{stage}/{attempt}"


class HungUp(Upstream):
    """Whoever was asked ended the call itself: what gRPC servers do to calls that arrive while they stop."""


class Engine(Protocol):
    """Deployments that generate, embed and rerank."""

    def generate(
        self, request: inference.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[inference.GenerateChunk, None]:
        """Stream an answer. The last chunk of each choice has `finish_reason`, the last of all has `usage`.

        Closing the generator, or cancelling the task in it, stops the engine. With `whole` nothing comes before the
        answer is complete, in one chunk a choice, which is cheaper.

        Raises:
            HeadraceError: what the engine answered; `Upstream` when it cannot be reached or ends early.
        """
        ...

    async def embed(self, request: inference.EmbedRequest, sent: Envelope) -> inference.EmbedResponse:
        """One vector a text. Raises as `generate`."""
        ...

    async def rerank(self, request: inference.RerankRequest, sent: Envelope) -> inference.RerankResponse:
        """One score a document. Raises as `generate`."""
        ...


class Classifier(Protocol):
    """Deployments that classify."""

    async def classify(self, request: inference.ClassifyRequest, sent: Envelope) -> inference.ClassifyResponse:
        """For each text the probability of each label. Raises as `Engine.generate`."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The deployment of a try, and in a word why it was chosen: `only`, `weight`."""

    target: Target
    why: str


class Chooser(Protocol):
    """Picks the deployment of each try: the one place through which every call to an engine passes."""

    def choose(
        self,
        ctx: RequestContext,
        pool: Pool,
        request: inference.GenerateRequest | None,
        tried: Collection[Target] = (),
        exclude: Collection[Target] = (),
    ) -> Choice | None:
        """A deployment of `pool` that may serve this request; None where there is none now.

        Args:
            ctx: the request.
            pool: where to choose.
            request: what is asked; None for vectors and rankings.
            tried: those asked before: chosen again only when no other is left.
            exclude: those that must not be chosen: they are full, or at work on this request.
        """
        ...


class AttemptListener(Protocol):
    """Hears of each attempt on a deployment; must be quick and raise nothing."""

    def began(self, attempt: Attempt) -> None:
        """The attempt is about to start. `ended` follows in whatever case."""
        ...

    def ended(self, attempt: Attempt) -> None:
        """The attempt has ended: `attempt.error` and the counts are final."""
        ...


class Retriever(Protocol):
    """Passages by meaning and words."""

    async def search(self, request: retrieval.SearchRequest, sent: Envelope) -> retrieval.SearchResponse:
        """Passages that the envelope's identity may read, best first.

        Raises:
            NotFound: no such collection, or not the caller's.
            HeadraceError: retrieval failed or cannot be reached.
        """
        ...


class Memory(Protocol):
    """Conversations of people, as far as the envelope's identity may read and keep them."""

    async def conversation(self, request: memory.GetConversationRequest, sent: Envelope) -> memory.Conversation:
        """What a model should be told of a conversation.

        Raises:
            NotFound: no such conversation (`param` is `conversation`), or no such memory.
            BadInput: its id or user cannot be one; `param` is `conversation` or `user`.
            HeadraceError: retrieval failed or cannot be reached.
        """
        ...

    async def append(self, request: memory.AppendTurnsRequest, sent: Envelope) -> memory.Conversation:
        """Keep turns; the answer tells what summing up took. Raises as `conversation`."""
        ...


class Journal(Protocol):
    """The event log."""

    async def opened(self, event: RequestEvent) -> None:
        """Log the start of an attempt; returns when it is on disk."""
        ...

    def closed(self, event: RequestEvent) -> None:
        """Log the end of an attempt; it reaches the disk shortly after."""
        ...


class Services(Protocol):
    """The services that the public API passes requests on to."""

    async def call(
        self, ctx: RequestContext, service: str, method: str, request: Any, *, timeout_s: float = 30.0
    ) -> Any:
        """Call `method` of `service` for the request's caller, at most `timeout_s` after the request's arrival.

        Raises:
            HeadraceError: what the service answered; `Upstream` when it cannot be reached.
        """
        ...
