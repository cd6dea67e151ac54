"""Retrieval on real PostgreSQL, pgvector and tantivy, called over gRPC as the gateway calls it."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.errors import BadInput, Conflict, DeadlineExceeded, Forbidden, NotFound, Upstream
from headrace_kit.hosting.process import ProcessHost
from headrace_kit.hosting.service import ServiceRuntime
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.app import assemble


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = _load("retrieval_models")

SERVICES = ()
CONFIG = models.CONFIG
WITHIN_S = 30


class Replica:
    """A running replica of the service, and calls to it."""

    def __init__(self, runtime: ServiceRuntime, words, peer: Peer) -> None:
        self.runtime = runtime
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
        fields = {key: caller.pop(key) for key in ("mode", "top_k", "rerank", "explain") if key in caller}
        request = pb.SearchRequest(query=query, **fields)
        request.collections.extend([collection] if isinstance(collection, str) else collection)
        request.filter.update(caller.pop("filter", {}))
        return await self.call("Search", request, **caller)

    async def ids(self, collection, query: str, **caller) -> list[str]:
        return [passage.document_id for passage in (await self.search(collection, query, **caller)).results]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@asynccontextmanager
async def serving(part, config: str = CONFIG) -> AsyncIterator[Replica]:
    env = Environment(data_dir=part.platform.layout.data_dir)
    text = config.replace("ops_port: 0", f"ops_port: {free_port()}")
    runtime = ServiceRuntime("retrieval", env, ConfigStore(Snapshot(parse(text), Path("headrace.yaml"))))
    words = models.WordModels()
    app = assemble(runtime, words)
    host = ProcessHost(runtime, app)
    await host.start()
    peer = Peer("retrieval", f"127.0.0.1:{host.grpc_port}", Signer("gateway", env.secrets_path / "signing"))
    try:
        async with asyncio.timeout(WITHIN_S):
            while app.problems():
                await asyncio.sleep(0.02)
        yield Replica(runtime, words, peer)
    finally:
        await peer.close()
        await host.stop()
        await runtime.close()


@pytest.fixture
async def replica(part) -> AsyncIterator[Replica]:
    async with serving(part) as running:
        yield running


@pytest.fixture
async def name(replica) -> str:
    """A fresh collection of tenant red without ACLs."""
    name = f"c{uuid.uuid4().hex[:12]}"
    await replica.call("CreateCollection", pb.CreateCollectionRequest(collection=pb.Collection(name=name)))
    return name


def document(id: str, text: str, acl: pb.Acl | None = None, **fields) -> pb.Document:
    metadata = fields.pop("metadata", {})
    made = pb.Document(id=id, text=text, acl=acl, **fields)
    made.metadata.update(metadata)
    return made


async def test_an_ingested_document_is_found_with_its_exact_span(replica, name):
    text = "# Water 💧\n\nThe headrace brings water to the turbine.\n\n## Leave\n\nThirty days of leave a year. 😀"
    answer = await replica.ingest(name, document("guide", text, title="Guide", metadata={"year": 2026, "tags": ["a"]}))
    assert answer.accepted == 1
    for mode in (pb.SEARCH_MODE_BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID):
        found = await replica.search(name, "days of leave", mode=mode, explain=True)
        passage = found.results[0]
        assert (passage.document_id, passage.title, passage.collection) == ("guide", "Guide", name)
        assert "Thirty days" in passage.text
        stored = await replica.call("GetDocument", pb.GetDocumentRequest(collection=name, document_id="guide"))
        assert stored.text == text
        assert text[passage.start : passage.end] == passage.text
        assert dict(passage.metadata) == {"year": 2026, "tags": ["a"]}
        assert passage.score == list(passage.scores.values())[0] or mode == pb.SEARCH_MODE_HYBRID
    assert set(passage.scores) >= {"bm25", "vector", "fused"} and passage.score == passage.scores["fused"]
    job = await replica.call("GetJob", pb.GetJobRequest(job=answer.job))
    assert (job.state, job.documents, job.done, list(job.errors)) == ("done", 1, 1, [])
