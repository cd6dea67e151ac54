"""Fakes of this service's ports, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from headrace_gateway.cache.ports import Known, Room
from headrace_gateway.ledger.frames import pack
from headrace_gateway.ledger.reconcile import Used
from headrace_gateway.ports import Envelope
from headrace_kit.config.cascades import Webhook
from headrace_kit.errors import NotFound, NotReady, Upstream
from headrace_kit.events import advance
from headrace_protos.common.v1.chat_pb2 import ToolCall, Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.guardrails.v1 import messages_pb2 as guardrails
from headrace_protos.inference.v1 import messages_pb2 as inference
from headrace_protos.retrieval.v1 import memory_pb2 as memory
from headrace_protos.retrieval.v1 import messages_pb2 as retrieval


@dataclass
class Script:
    """What a deployment does with one call: its texts as chunks, then `error`, or an end with `finish` and usage.

    With `hang` it says its texts and then nothing until it is cancelled, or the engine's `resume` is set. `logprob` is
    that of each token, None where the engine reports none; a text is one token. It says nothing before `gate` is set,
    and sets `after` itself.
    `margin` and `entropy` are told where they are asked for. All choices of a request say the same.
    """

    texts: Sequence[str] = ("hello",)
    error: Exception | None = None
    finish: str = "stop"
    logprob: float | None = -0.1
    hang: bool = False
    input_tokens: int = 10
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    tool_calls: Sequence[ToolCall] = ()
    margin: float | None = None
    entropy: float | None = None
    gate: asyncio.Event | None = None
    after: asyncio.Event | None = None


@dataclass
class EngineCall:
    """A call that the fake engine got."""

    deployment: str
    request: inference.GenerateRequest
    sent: Envelope
    whole: bool
    cancelled: bool = False
    finished: bool = False


@dataclass
class FakeEngine:
    """An engine that follows scripts: the next of a deployment's list at each call, its last one over and over."""

    scripts: dict[str, list[Script]] = field(default_factory=dict)
    calls: list[EngineCall] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    classified: list[str] = field(default_factory=list)
    probability: float = 0.9

    async def generate(
        self, request: inference.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[inference.GenerateChunk, None]:
        """See `Engine`."""
        copy = inference.GenerateRequest()
        copy.CopyFrom(request)
        call = EngineCall(request.deployment, copy, sent, whole)
        self.calls.append(call)
        script = self._next(request.deployment)
        try:
            if script.after is not None:
                script.after.set()
            if script.gate is not None:
                await script.gate.wait()
            said = list(script.texts)
            for text in ["".join(said)] if whole and script.error is None and not script.hang else said:
                count = len(said) if whole else 1
                stats = inference.TokenStats(
                    tokens=count, sum_logprob=(script.logprob or 0) * count, min_logprob=script.logprob
                )
                if request.stats_top and script.margin is not None and script.entropy is not None:
                    stats.ranked = count
                    stats.sum_margin, stats.sum_entropy = script.margin * count, script.entropy * count
                for index in range(max(1, request.sampling.n)):
                    yield inference.GenerateChunk(index=index, text=text, stats=stats)
            for piece in script.tool_calls:
                yield inference.GenerateChunk(tool_calls=[piece])
            if script.hang:
                self.hanging.set()
                await self.resume.wait()
            if script.error is not None:
                raise script.error
            usage = Usage(
                input_tokens=script.input_tokens,
                cached_input_tokens=script.cached_input_tokens,
                output_tokens=len(said),
                cache_write_input_tokens=script.cache_write_input_tokens,
            )
            call.finished = True
            for index in range(1, request.sampling.n):
                yield inference.GenerateChunk(index=index, finish_reason=script.finish)
            yield inference.GenerateChunk(finish_reason=script.finish, usage=usage)
        except (asyncio.CancelledError, GeneratorExit):
            call.cancelled = not call.finished
            raise

    async def embed(self, request: inference.EmbedRequest, sent: Envelope) -> inference.EmbedResponse:
        """See `Engine`: every vector is (1, 0)."""
        script = self._next(request.deployment)
        if script.error is not None:
            raise script.error
        one = inference.Embedding(vector=b"\x00\x00\x80?\x00\x00\x00\x00")
        return inference.EmbedResponse(embeddings=[one for _ in request.texts], usage=Usage(input_tokens=3))

    async def classify(self, request: inference.ClassifyRequest, sent: Envelope) -> inference.ClassifyResponse:
        """See `Classifier`: `good` is as likely as `probability`."""
        script = self._next(request.deployment)
        if script.error is not None:
            raise script.error
        self.classified.extend(request.texts)
        scores = {"good": self.probability, "bad": 1 - self.probability}
        return inference.ClassifyResponse(
            classifications=[inference.Classification(scores=scores) for _ in request.texts]
        )

    async def rerank(self, request: inference.RerankRequest, sent: Envelope) -> inference.RerankResponse:
        """See `Engine`: longer documents are better."""
        scores = [float(len(document)) for document in request.documents]
        return inference.RerankResponse(scores=scores, usage=Usage(input_tokens=5))

    def _next(self, deployment: str) -> Script:
        scripts = self.scripts.setdefault(deployment, [Script()])
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


@dataclass
class FakeRetriever:
    """A retriever that knows some passages by collection."""

    passages: dict[str, list[retrieval.Passage]] = field(default_factory=dict)
    requests: list[retrieval.SearchRequest] = field(default_factory=list)
    away: bool = False
    now: dict[str, int] = field(default_factory=dict)
    """Epochs by collection; 1 where nothing is said."""
    rewriting: Usage | None = None
    """What a rewriting takes."""

    async def search(self, request: retrieval.SearchRequest, sent: Envelope) -> retrieval.SearchResponse:
        """See `Retriever`."""
        self.requests.append(request)
        if self.away:
            raise Upstream("retrieval is away")
        found = []
        for name in request.collections:
            if name not in self.passages:
                raise NotFound(f"there is no collection {name!r}", param="collections")
            for passage in self.passages[name]:
                copy = retrieval.Passage()
                copy.CopyFrom(passage)
                found.append(copy)
        return retrieval.SearchResponse(
            results=found[: request.top_k],
            epochs={name: self.now.get(name, 1) for name in request.collections},
            rewriting=self.rewriting if request.HasField("rewrite") else None,
        )

    async def epochs(self, collections: Sequence[str], sent: Envelope) -> dict[str, int]:
        """See `Epochs`."""
        if self.away:
            raise Upstream("retrieval is away")
        return {name: self.now.get(name, 1) for name in collections}


@dataclass
class FakeMemory:
    """Conversations by memory, user and id, told whole. It fails while `away`; `gate` holds up what is kept."""

    conversations: dict[tuple[str, str, str], memory.Conversation] = field(default_factory=dict)
    read: list[memory.GetConversationRequest] = field(default_factory=list)
    sent: list[Envelope] = field(default_factory=list)
    away: bool = False
    gate: asyncio.Event | None = None
    summing: Usage | None = None
    """What summing up takes, each time."""

    async def conversation(self, request: memory.GetConversationRequest, sent: Envelope) -> memory.Conversation:
        """See `Memory`."""
        self.read.append(request)
        self.sent.append(sent)
        if self.away:
            raise Upstream("retrieval is away")
        found = self.conversations.get((request.collection, request.user, request.conversation))
        if found is None:
            raise NotFound("there is no such conversation", param="conversation")
        copy = memory.Conversation()
        copy.CopyFrom(found)
        return copy

    async def append(self, request: memory.AppendTurnsRequest, sent: Envelope) -> memory.Conversation:
        """See `Memory`."""
        self.sent.append(sent)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise Upstream("retrieval is away")
        key = (request.collection, request.user, request.conversation)
        found = self.conversations.setdefault(key, memory.Conversation(id=request.conversation))
        found.turns.extend(request.turns)
        return memory.Conversation(id=found.id, summing=self.summing)


class FakeGuardrails:
    """The guardrails service: `verdicts` by a word of the text; fails while `away` is set, hangs while `hangs` is."""

    def __init__(self, release: str = "") -> None:
        self.release = release
        self.verdicts: dict[str, guardrails.CheckResponse] = {}
        self.asked: list[guardrails.CheckRequest] = []
        self.recorded: list[guardrails.Decision] = []
        self.away = False
        self.hangs = False

    async def check(self, request: guardrails.CheckRequest, sent: Envelope) -> guardrails.CheckResponse:
        """See `Guardrails`."""
        self.asked.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise Upstream("guardrails cannot be reached")
        for word, verdict in self.verdicts.items():
            if word in request.text:
                answer = guardrails.CheckResponse(release=self.release)
                answer.MergeFrom(verdict)
                return answer
        return guardrails.CheckResponse(
            action=guardrails.ACTION_ALLOW, would=guardrails.ACTION_ALLOW, text=request.text, release=self.release
        )

    async def record(self, request: guardrails.RecordDecisionsRequest) -> None:
        """See `Guardrails`."""
        if self.away:
            raise Upstream("guardrails cannot be reached")
        self.recorded += request.decisions


@dataclass
class FakeCacheStore:
    """A cache store in memory; nothing in it grows old."""

    entries: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    away: bool = False

    async def get(self, pool: str, exact: str) -> bytes | None:
        """See `CacheStore`."""
        self._there()
        return self.entries.get((pool, exact))

    async def questions(self, pool: str, scope: str) -> Sequence[Known]:
        """See `CacheStore`."""
        self._there()
        return [Known(exact, vector) for exact, vector in self.asked.get((pool, scope), {}).items()]

    async def put(self, pool: str, exact: str, entry: bytes, room: Room, scope: str, vector: bytes) -> None:
        """See `CacheStore`."""
        self._there()
        self.entries[pool, exact] = entry
        if scope:
            self.asked.setdefault((pool, scope), {})[exact] = vector

    async def forget(self, pool: str, scope: str, exact: str) -> None:
        """See `CacheStore`."""
        self._there()
        self.asked.get((pool, scope), {}).pop(exact, None)

    def _there(self) -> None:
        if self.away:
            raise NotReady("away")


@dataclass
class FakeClaims:
    """Claims in memory; nothing in it lapses by itself: delete from `values` what should have."""

    values: dict[str, bytes] = field(default_factory=dict)
    away: bool = False

    async def claim(self, name: str, mark: bytes, lease_s: float) -> bytes | None:
        """See `Claims`."""
        self._there()
        if name in self.values:
            return self.values[name]
        self.values[name] = mark
        return None

    async def renew(self, name: str, mark: bytes, lease_s: float) -> None:
        """See `Claims`."""
        self._there()

    async def keep(self, name: str, mark: bytes, value: bytes, ttl_s: float) -> None:
        """See `Claims`."""
        self._there()
        if self.values.get(name, mark) == mark:
            self.values[name] = value

    async def release(self, name: str, mark: bytes) -> None:
        """See `Claims`."""
        self._there()
        if self.values.get(name) == mark:
            del self.values[name]

    def _there(self) -> None:
        if self.away:
            raise NotReady("away")


@dataclass
class FakePost:
    """Receives webhooks. The next try ends with the next of `errors`, which None stands for going well."""

    errors: list[Exception | None] = field(default_factory=list)
    received: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    tries: int = 0

    async def __call__(self, hook: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """See `Post`."""
        self.tries += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.received.append((hook.url, body, headers))


@dataclass
class FakeJournal:
    """A journal in memory. `full` refuses opened events, as a full disk does."""

    events: list[RequestEvent] = field(default_factory=list)
    full: bool = False

    async def opened(self, event: RequestEvent) -> None:
        """See `Journal`."""
        if self.full:
            raise NotReady("the gateway cannot account for requests now")
        self.events.append(event)

    def closed(self, event: RequestEvent) -> None:
        """See `Journal`."""
        self.events.append(event)


@dataclass
class FakeStream:
    """The event stream in memory: both ends. What was taken and not acknowledged comes again after `redeliver`."""

    entries: list[tuple[str, bytes]] = field(default_factory=list)
    taken: dict[str, bytes] = field(default_factory=dict)
    away: bool = False
    added: int = 0

    async def add(self, events: Sequence[bytes]) -> None:
        """See `Stream`."""
        if self.away:
            raise NotReady("away")
        for at in range(0, len(events), 2):
            self.added += 1
            self.entries.append((str(self.added), pack(events[at : at + 2])))

    async def take(self) -> list[tuple[str, bytes]]:
        """See `Deliveries`."""
        if self.away:
            raise NotReady("away")
        if not self.entries:
            await asyncio.sleep(0.001)
        taken, self.entries = self.entries[:3], self.entries[3:]
        self.taken.update(taken)
        return taken

    async def acknowledge(self, deliveries: Sequence[str]) -> None:
        """See `Deliveries`."""
        for delivery in deliveries:
            self.taken.pop(delivery, None)

    def redeliver(self) -> None:
        """What was not acknowledged will be taken again."""
        self.entries = [*self.taken.items(), *self.entries]
        self.taken = {}

    def flush(self) -> None:
        """Lose everything."""
        self.entries, self.taken = [], {}


@dataclass
class FakeLedgerStore:
    """The ledger in memory. `fail_after_commit` breaks the connection after the next write was committed."""

    rows: dict[tuple[str, int, int], RequestEvent] = field(default_factory=dict)
    reached: dict[str, tuple[int, list[int]]] = field(default_factory=dict)
    away: bool = False
    fail_after_commit: bool = False

    async def write(self, rows: Sequence[RequestEvent], positions: dict[str, list[int]]) -> None:
        """See `LedgerStore`."""
        if self.away:
            raise NotReady("away")
        for event in rows:
            key = (event.request_id, event.stage, event.attempt)
            known = self.rows.get(key)
            if known is None or (known.kind != RequestEvent.KIND_CLOSED and event.kind == RequestEvent.KIND_CLOSED):
                self.rows[key] = event
        for log_id, seen in positions.items():
            self.reached[log_id] = advance(*self.reached.get(log_id, (0, [])), seen)
        if self.fail_after_commit:
            self.fail_after_commit = False
            raise NotReady("the connection broke after the commit")

    async def progress(self, log_ids: list[str]) -> dict[str, int]:
        """See `RecordStore`."""
        if self.away:
            raise NotReady("away")
        return {log_id: self.reached[log_id][0] for log_id in log_ids if log_id in self.reached}


@dataclass
class FakeCounts:
    """Inference's counts: the next answer each time an attempt is asked for; away once there are none left."""

    answers: list[Used] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)

    async def used(self, attempts: Sequence[str]) -> dict[str, Used]:
        """See `Counts`."""
        self.asked.append(list(attempts))
        if not self.answers:
            raise Upstream("away")
        return {attempts[0]: self.answers.pop(0)}


@dataclass
class FakeReceiver:
    """A receiver of records: batches, packed. `unusable` of each are no use to it."""

    batches: list[list[bytes]] = field(default_factory=list)
    away: bool = False
    unusable: int = 0
    at_once: int = 64

    async def take(self, records: Sequence[bytes]) -> int:
        """See `RecordReceiver`."""
        if self.away:
            raise Upstream("away")
        self.batches.append([*records])
        return self.unusable
