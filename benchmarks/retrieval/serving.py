"""The platform that is measured, on free ports in a folder of its own, called as the gateway calls it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import headrace_local
from headrace_kit.config.loading import load
from headrace_kit.errors import HeadraceError
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.inference.v1 import service_pb2_grpc as inference_grpc
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc

TENANT = "dev"
_READY_S = 120.0
_CALL_S = 1800.0
_A_CALL = 100
_MODES = {
    "bm25": pb.SEARCH_MODE_BM25,
    "vector": pb.SEARCH_MODE_VECTOR,
    "fused": pb.SEARCH_MODE_HYBRID,
    "reranked": pb.SEARCH_MODE_HYBRID,
}


@contextlib.contextmanager
def platform(units: Sequence[str], threads: int = 1, more: Sequence[str] = ()) -> Iterator[Platform]:
    """PostgreSQL and the named units, with the default config's embedding model, reranker and `more` deployments."""
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    document = default.model_dump(mode="json", exclude_none=True)
    wanted = ("minilm", "reranker", *more)
    files = {document["deployments"][name]["model"] for name in wanted}
    config = {
        "tenants": {TENANT: {}},
        "catalogue": {name: document["catalogue"][name] for name in files},
        # Nothing is left out because a busy machine is slow.
        "services": {"retrieval": {"model_timeout": 300}},
        "deployments": {name: document["deployments"][name] | {"threads": threads} for name in wanted},
    }
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        file = Path(name) / "headrace.yaml"
        file.write_text(json.dumps(config), "utf-8")
        started = Platform(Settings(data_dir=Path(name) / "data", port_base=free_port_base(), config=file))
        started.start(["postgres", "schema", *units], bound=True)
        try:
            yield started
        finally:
            started.stop()


class Retrieval:
    """Calls to the service over gRPC, and `headrace_evals.ranking.stages.Searcher` on one of its collections."""

    def __init__(self, running: Platform, collection: str) -> None:
        signer = Signer("gateway", running.layout.secrets / "signing")
        self._peer = Peer("retrieval", f"127.0.0.1:{running.port('retrieval-grpc')}", signer)
        self._stub = self._peer.stub(service_pb2_grpc.RetrievalServiceStub)
        self._collection = collection

    async def call(self, method: str, request: Any) -> Any:
        """One call as the tenant's own key that may read all."""
        identity = Identity("gateway", TENANT, "bench", scopes=frozenset({"read_all"}))
        return await self._peer.unary(getattr(self._stub, method), request, Outbound(identity).within(_CALL_S))

    async def ready(self) -> None:
        """Returns once it answers."""
        async with asyncio.timeout(_READY_S):
            while True:
                with contextlib.suppress(HeadraceError):
                    await self.call("ListCollections", pb.ListCollectionsRequest())
                    return
                await asyncio.sleep(0.2)

    async def fill(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """Make the collection of documents (id, title, text) and wait until they are searchable."""
        wanted = pb.Collection(name=self._collection, embedding="minilm")
        await self.call("CreateCollection", pb.CreateCollectionRequest(collection=wanted))
        for at in range(0, len(documents), _A_CALL):
            part = [pb.Document(id=id, title=title, text=text) for id, title, text in documents[at : at + _A_CALL]]
            last = at + _A_CALL >= len(documents)
            await self.call("Ingest", pb.IngestRequest(collection=self._collection, documents=part, wait=last))

    async def search(self, stage: str, query: str, depth: int) -> Sequence[str]:
        """See the protocol."""
        request = pb.SearchRequest(
            collections=[self._collection],
            query=query,
            top_k=depth,
            mode=_MODES[stage],
            rerank=stage == "reranked",
        )
        return [passage.document_id for passage in (await self.call("Search", request)).results]

    async def passages(self, question: str, wanted: int) -> Sequence[pb.Passage]:
        """The best passages, as the gateway asks for them."""
        request = pb.SearchRequest(collections=[self._collection], query=question, top_k=wanted, rerank=True)
        found: pb.SearchResponse = await self.call("Search", request)
        return found.results

    async def close(self) -> None:
        """Hang up."""
        await self._peer.close()


class Inference:
    """Calls to the models over gRPC."""

    def __init__(self, running: Platform) -> None:
        signer = Signer("gateway", running.layout.secrets / "signing")
        self._peer = Peer("inference", f"127.0.0.1:{running.port('inference-grpc')}", signer)
        self._stub = self._peer.stub(inference_grpc.InferenceServiceStub)

    async def generate(self, request: GenerateRequest) -> str:
        """The text of the first answer."""
        sent = Outbound(Identity("gateway", TENANT, "bench")).within(_CALL_S)
        answer = await self._peer.unary(self._stub.Generate, request, sent)
        return str(answer.choices[0].text)

    async def close(self) -> None:
        """Hang up."""
        await self._peer.close()
