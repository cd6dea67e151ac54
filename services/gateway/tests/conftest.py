"""A gateway of fakes: everything real but the engines, the stores and the other services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

from headrace_gateway.adapters.openai_http.fake import Endpoint, Outside
from headrace_gateway.admission.door import Door
from headrace_gateway.admission.keys import ApiKey, KeyLimits, KeyRing, digest_of
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.admission.overload import LoopLag
from headrace_gateway.admission.rates import RateBook
from headrace_gateway.arms.leases import Leases
from headrace_gateway.budgets.book import Book
from headrace_gateway.cache.semantic import Semantic
from headrace_gateway.cache.stage import AnswerCache
from headrace_gateway.calls import GenerateCall
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.webhook import Webhooks
from headrace_gateway.context import Arrival, RequestContext, open_request
from headrace_gateway.conversations import Conversations
from headrace_gateway.fakes import (
    FakeCacheStore,
    FakeClaims,
    FakeEngine,
    FakeGuardrails,
    FakeJournal,
    FakeMemory,
    FakePost,
    FakeRetriever,
)
from headrace_gateway.grounding.rewriting import Rewriting
from headrace_gateway.guarding.decisions import Decisions
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.http_api.application import HttpApplication
from headrace_gateway.http_api.chat import ChatApi
from headrace_gateway.http_api.docs_page import DocsApi
from headrace_gateway.http_api.models import model_routes
from headrace_gateway.http_api.once import HttpOnce
from headrace_gateway.http_api.responses import ResponsesApi
from headrace_gateway.http_api.router import Route, Router
from headrace_gateway.http_api.vectors import VectorsApi
from headrace_gateway.idempotency.once import Once
from headrace_gateway.observing.failures import FailureMetrics
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.observing.records import HERE, Ended, record_of
from headrace_gateway.pipeline import Pipeline
from headrace_gateway.resilience.attempts import Attempts
from headrace_gateway.resilience.health import Health
from headrace_gateway.routing.choose import PoolChooser
from headrace_gateway.routing.table import Table, compile_table
from headrace_gateway.running import Running
from headrace_gateway.unary import Vectors
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.services import Idempotency
from headrace_kit.rpc import Identity
from headrace_kit.telemetry.request_spans import RequestSpan, spans_of
from headrace_kit.telemetry.requests import packed, unpacked
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message

CONFIG = """
tenants:
  dev: {limits: {concurrent_requests: 3}}
  narrow: {allow_models: [plain]}
  whole: {trace_content: full}
deployments:
  small: {engine: triton-scripted, price: {input_usd_per_million: 1, output_usd_per_million: 2}}
  large: {engine: triton-scripted, price: {input_usd_per_million: 10, output_usd_per_million: 20}}
  spare: {engine: triton-scripted}
  seer:
    engine: litellm
    model: anthropic/claude-sonnet-4-5
    accepts: [image, audio]
    price:
      version: "2026-11"
      input_usd_per_million: 3
      cached_input_usd_per_million: 0.3
      cache_write_usd_per_million: 3.75
      output_usd_per_million: 15
  tuned: {engine: triton-llamacpp, model: weights, adapters: {legal: {model: legal}}}
  minilm: {engine: triton-python, task: embed, model: minilm, dimensions: 2}
  reranker: {engine: triton-python, task: rerank, model: minilm}
catalogue:
  minilm:
    format: onnx
    licence: Apache-2.0
    files: [{name: model.onnx, sha256: "%s", size: 3, sources: [{hub: a/b/c.onnx}]}]
  weights:
    format: gguf
    licence: Apache-2.0
    files: [{name: model.gguf, sha256: "%s", size: 3, sources: [{hub: a/b/c.gguf}]}]
  legal:
    format: gguf
    licence: Apache-2.0
    files: [{name: legal.gguf, sha256: "%s", size: 3, sources: [{hub: a/b/d.gguf}]}]
models:
  plain: {deployment: small, retry: {attempts: 1}}
  sturdy: {deployment: small, retry: {attempts: 3}, fallbacks: [spare]}
  assistant:
    cascade: [{deployment: small, accept: {signal: mean_logprob, at_least: -0.5}}, {deployment: large}]
    retry: {attempts: 1}
  seeing: {deployment: seer}
  glimpsing: {deployment: seer, fallbacks: [spare]}
  lawyer: {deployment: tuned, adapter: legal, fallbacks: [spare]}
  guarded: {deployment: small, guardrails: standard}
  grounded: {deployment: small, collections: [handbook], passages: 2}
  recalling: {deployment: small, collections: [handbook], rewrite: {wordings: 2, hypothetical: true}}
  remembering: {deployment: small, guardrails: standard, conversations: {max_tokens: 500}}
  careful:
    deployment: small
    collections: [handbook]
    grounding: {relevance: 0.3, not_found: That is not in the documents.}
  minilm: {deployment: minilm}
  reranker: {deployment: reranker}
guardrails:
  standard:
    input: [{check: pii, kinds: [email], action: mask}, {check: ban_list, words: [bluebird], action: block}]
    retrieved: [{check: ban_list, words: [bluebird], action: block}]
    output: [{check: pii, kinds: [email], action: mask}, {check: ban_list, words: [bluebird], action: block}]
  strict:
    input: [{check: ban_list, words: [otter], action: block}]
collections:
  handbook: {tenant: dev}
  memory: {tenant: dev, kind: memory}
services: {retrieval: {rewriter: small}}
""" % (("a" * 64,) * 3)

KEYS = {
    "dev": ApiKey("k-dev", "dev", "dev", frozenset(), digest_of("hr_dev")),
    "narrow": ApiKey("k-narrow", "narrow", "narrow", frozenset(), digest_of("hr_narrow")),
    "asserting": ApiKey("k-as", "dev", "as", frozenset({"assert_identity"}), digest_of("hr_asserting")),
    "revoked": ApiKey("k-rev", "dev", "rev", frozenset(), digest_of("hr_revoked"), revoked_at=1.0),
    "limited": ApiKey(
        "k-lim",
        "dev",
        "lim",
        frozenset(),
        digest_of("hr_limited"),
        limits=KeyLimits(requests_per_minute=2, tokens_per_minute=1500, concurrent_requests=1),
    ),
    "expired": ApiKey("k-exp", "dev", "exp", frozenset(), digest_of("hr_expired"), expires_at=1.0),
}


async def no_wait(_: float) -> None:
    """Retries at once."""


@dataclass
class Left:
    """A request that has left the door."""

    ctx: RequestContext
    status: int
    error: str


@dataclass
class Rig:
    """All parts, to look into."""

    table: Table
    engine: FakeEngine = field(default_factory=FakeEngine)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    memory: FakeMemory = field(default_factory=FakeMemory)
    journal: FakeJournal = field(default_factory=FakeJournal)
    clock: Callable[[], float] = time.monotonic
    cache_store: FakeCacheStore = field(default_factory=FakeCacheStore)
    claims: FakeClaims = field(default_factory=FakeClaims)
    leases: Leases = field(default_factory=Leases)
    in_flight: InFlight = field(default_factory=InFlight)
    left: list[Left] = field(default_factory=list)
    guardrails: FakeGuardrails = field(default_factory=FakeGuardrails)
    max_in_flight: int = 8
    max_body_bytes: int = 10_000
    keep_alive_s: float = 15

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.ring = KeyRing("bootstrap-secret")
        self.ring.update(KEYS.values())
        self.health = Health(FailureMetrics(self.registry), lambda: self.clock())
        self.chooser = PoolChooser(self.health.healthy)
        self.attempts = Attempts(self.engine, self.journal, self.metrics, self.chooser, self.health, sleep=no_wait)
        self.cache = AnswerCache(
            self.cache_store, self.retriever, Semantic(self.cache_store, self.attempts), self.journal, self.metrics
        )
        self.book = Book(lambda tenant: self.table.tenant(tenant).budget, lambda: self.clock())
        self.rates = RateBook(lambda: self.clock())
        self.posts = FakePost()
        self.webhooks = Webhooks(self.posts, {"hook": "s3cret"}.get, self.metrics.webhook, no_wait, waiting=2)
        self.decisions = Decisions(self.guardrails, self.metrics.decisions_lost.inc)
        guards = Guards(self.guardrails, self.decisions)
        self.rewriting = Rewriting(self.journal, self.metrics)
        self.pipeline = Pipeline(
            self.attempts,
            self.retriever,
            self.leases,
            self.metrics,
            self.cache,
            Judges(self.attempts, self.engine, self.webhooks),
            guards,
            self.rewriting,
            Conversations(self.memory, self.rewriting, self.metrics),
        )
        self.vectors = Vectors(self.attempts, self.leases, guards)
        self.once = Once(self.claims, Idempotency)
        self.lag = LoopLag(lambda: 0.2)
        self.door = Door(
            self.ring,
            self.in_flight,
            self.lag,
            lambda: self.table,
            lambda: self.max_in_flight,
            self.metrics,
            self.book,
            self.rates,
            lambda ctx, status, error: self.left.append(Left(ctx, status, error)),
            self.leases.canary,
        )

    def application(self, *more: Route) -> HttpApplication:
        """The HTTP application over these parts."""
        limit = lambda: self.max_body_bytes  # noqa: E731
        routes = [
            *ChatApi(self.pipeline, self.door, limit, lambda: self.keep_alive_s).routes(),
            *ResponsesApi(self.pipeline, self.door, limit, lambda: self.keep_alive_s).routes(),
            *VectorsApi(self.vectors, limit).routes(),
            *model_routes(),
            *more,
        ]
        return HttpApplication(
            Router([*routes, *DocsApi(routes).routes()]), self.door, HttpOnce(self.once, self.in_flight, limit)
        )

    def context(self, tenant: str = "dev", **arrival: object) -> RequestContext:
        """A request that was let in."""
        ctx = open_request(Arrival(route="POST /v1/chat/completions", **arrival), self.table)
        ctx.identity = Identity("gateway", tenant, "k-dev")
        return ctx

    def closed(self) -> list:
        """Closed events so far."""
        return [event for event in self.journal.events if event.kind == event.KIND_CLOSED]


@pytest.fixture
def table() -> Table:
    """The compiled test config."""
    return compile_table(Snapshot(parse(CONFIG), Path("headrace.yaml")))


@pytest.fixture
def rig(table: Table) -> Rig:
    """A gateway of fakes."""
    return Rig(table)


@pytest.fixture
def ask():
    """Makes a call with one user turn."""

    def make(model: str, text: str = "hi", **more: object) -> GenerateCall:
        return GenerateCall(model, messages=[Message(role="user", parts=[ContentPart(text=text)])], **more)

    return make


@pytest.fixture
def told():
    """Makes the spans of a request that has ended, of its record as it arrives elsewhere."""

    def make(ctx: RequestContext, status: int = 200, error: str = "", running: Running = HERE) -> list[RequestSpan]:
        record = packed(record_of(Ended(ctx, status, ctx.wall_ns(), error), running))
        return [*spans_of(unpacked(record))]

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for `localhost` that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def outside(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Outside]:
    made = Outside(endpoint, tmp_path)
    yield made
    made.engines.close()
