"""A replica of retrieval inside the test's process, with models that have no weights."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.errors import BadInput, Upstream
from headrace_kit.hosting.process import ProcessHost
from headrace_kit.hosting.service import ServiceApp, ServiceRuntime
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.app import assemble
from headrace_retrieval.domain.spending import Generated, Tokens

WITHIN_S = 30
LEASE_S = 2
DIMENSIONS = 64
CONFIG = """
tenants: {red: {}, blue: {}, green: {}}
catalogue:
  words: {format: onnx, licence: none, files: [{name: model.onnx, sha256: "%s", size: 1, sources: [{path: none}]}]}
deployments:
  minilm: {engine: triton-python, task: embed, model: words, dimensions: 64}
collections:
  handbook: {tenant: red, shared_with: [blue], acl: required}
services:
  retrieval: {listen: {grpc_port: 0, ops_port: 0}}
""" % ("0" * 64)
REFUSED = "unembeddable"
"""A text with this word is refused, as a model refuses what it cannot read."""


class WordModels:
    """`Models`: a text's vector counts its words by hash, so texts that share words are near."""

    def __init__(self) -> None:
        self.away = False
        self.refusing = True
        self.think_s = 0.0
        self.answers: dict[str, str] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.embedded: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, deployment: str, texts: Sequence[str], *, tenant: str, limit_s: float) -> list[bytes]:
        """Vectors, once `gate` is open."""
        if self.away:
            raise Upstream(f"{deployment} is away")
        await self.gate.wait()
        if self.refusing and any(REFUSED in text for text in texts):
            raise BadInput("the model cannot read this")
        self.embedded += texts
        return [_vector(text) for text in texts]

    async def generate(self, deployment: str, system: str, user: str, *, max_tokens: int, limit_s: float) -> Generated:
        """What `answers` says to a prompt that holds one of its keys; nothing else is known."""
        if self.away:
            raise Upstream(f"{deployment} is away")
        await asyncio.sleep(self.think_s)
        self.asked.append((deployment, system, user))
        said = next((answer for key, answer in self.answers.items() if key in system), "")
        return Generated(said, Tokens(inputs=len(_words(user)), outputs=len(_words(said))))

    async def rerank(self, deployment: str, query: str, texts: Sequence[str], *, limit_s: float) -> list[float]:
        """Shared words, less a little for length: an order that neither BM25 nor the vectors give."""
        if self.away:
            raise Upstream(f"{deployment} is away")
        wanted = set(_words(query))
        return [len(wanted & set(_words(text))) - len(text) / 10_000 for text in texts]


def _vector(text: str) -> bytes:
    values = [0.0] * DIMENSIONS
    for word in _words(text):
        values[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS] += 1
    length = math.sqrt(sum(value * value for value in values)) or 1
    return struct.pack(f"<{DIMENSIONS}f", *(value / length for value in values))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class Replica:
    """A running replica of the service, and calls to it."""

    def __init__(self, runtime: ServiceRuntime, app: ServiceApp, words: WordModels, peer: Peer) -> None:
        self.runtime = runtime
        self.app = app
        self.models = words
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.RetrievalServiceStub)

    async def call(self, method: str, request, *, tenant="red", user="", groups=(), scopes=(), timeout_s=WITHIN_S):
        identity = Identity("gateway", tenant, "key", user, tuple(groups), frozenset(scopes))
        return await self._peer.unary(getattr(self._stub, method), request, Outbound(identity).within(timeout_s))

    async def ingest(self, collection: str, *documents: pb.Document, wait=True, **caller) -> pb.IngestResponse:
        request = pb.IngestRequest(collection=collection, documents=documents, wait=wait)
        return await self.call("Ingest", request, **caller)

    async def search(self, collection, query: str, **caller) -> pb.SearchResponse:
        fields = {
            key: caller.pop(key)
            for key in ("mode", "top_k", "rerank", "explain", "window", "section", "rewrite")
            if key in caller
        }
        request = pb.SearchRequest(query=query, **fields)
        request.collections.extend([collection] if isinstance(collection, str) else collection)
        request.filter.update(caller.pop("filter", {}))
        return await self.call("Search", request, **caller)

    def metric(self, name: str) -> float:
        return self.runtime.registry.get_sample_value(name)

    async def ids(self, collection, query: str, **caller) -> list[str]:
        return [passage.document_id for passage in (await self.search(collection, query, **caller)).results]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@asynccontextmanager
async def serving(
    part, config: str = CONFIG, *, ready: bool = True, env: Environment | None = None
) -> AsyncIterator[Replica]:
    """A replica on the part's PostgreSQL, or where `env` says."""
    env = env or Environment(data_dir=part.platform.layout.data_dir)
    text = config.replace("ops_port: 0", f"ops_port: {free_port()}")
    runtime = ServiceRuntime("retrieval", env, ConfigStore(Snapshot(parse(text), Path("headrace.yaml"))))
    words = WordModels()
    app = assemble(runtime, words, LEASE_S)
    host = ProcessHost(runtime, app)
    await host.start()
    peer = Peer("retrieval", f"127.0.0.1:{host.grpc_port}", Signer("gateway", env.secrets_path / "signing"))
    try:
        async with asyncio.timeout(WITHIN_S):
            while ready and app.problems():
                await asyncio.sleep(0.02)
        yield Replica(runtime, app, words, peer)
    finally:
        await peer.close()
        await host.stop()
        await runtime.close()


async def eventually(ask, fits):
    """The first answer that fits, within a time."""
    async with asyncio.timeout(WITHIN_S):
        while not fits(answer := await ask()):
            await asyncio.sleep(0.05)
    return answer


def document(id: str, text: str, acl: pb.Acl | None = None, **fields) -> pb.Document:
    metadata = fields.pop("metadata", {})
    made = pb.Document(id=id, text=text, acl=acl, **fields)
    made.metadata.update(metadata)
    return made
