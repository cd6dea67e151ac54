"""Small ONNX models in the real Triton: embedding, cross-encoder, and the cross-encoder's weights as a classifier."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as triton_pb
from tritonclient.grpc import service_pb2_grpc as triton_rpc

import headrace_local
from headrace_kit.config.loading import load
from headrace_kit.errors import BadInput, NotReady
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc as rpc

PATIENCE_S = 120
CLASSIFIER = {"engine": "triton-python", "task": "classify", "model": "reranker", "max_input_tokens": 512}
LABELS = ["irrelevant", "relevant"]
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "minilm": {
        "engine": "triton-python",
        "task": "embed",
        "model": "minilm",
        "max_input_tokens": 256,
        "dimensions": 384,
    },
    "reranker": {"engine": "triton-python", "task": "rerank", "model": "reranker", "max_input_tokens": 512},
    "one-of": {**CLASSIFIER, "labels": LABELS},
    "any-of": {**CLASSIFIER, "labels": LABELS, "multi_label": True},
    "mislabelled": {**CLASSIFIER, "labels": ["one", "two", "three"]},
}
QUERY = "How do I reset my password?"
DOCUMENTS = [
    "The cafeteria opens at noon.",
    "To reset a password, open the settings and choose reset.",
    "Our office has a garden.",
]


class Caller:
    """Calls the inference service as another service of the platform."""

    def __init__(self, platform: Platform, service: str) -> None:
        signer = Signer(service, platform.layout.secrets / "signing")
        self._peer = Peer("inference", f"127.0.0.1:{platform.port('inference-grpc')}", signer)
        self._stub = self._peer.stub(rpc.InferenceServiceStub)
        self._outbound = Outbound(Identity(service, tenant="dev"), "request")

    async def call(self, method: str, request: Any) -> Any:
        return await self._peer.unary(getattr(self._stub, method), request, self._outbound.within(PATIENCE_S))

    async def close(self) -> None:
        await self._peer.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("onnx")
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    catalogue = {
        name: default.catalogue[name].model_dump(mode="json", exclude_none=True) for name in ("minilm", "reranker")
    }
    config = folder / "headrace.yaml"
    config.write_text(json.dumps({"catalogue": catalogue, "deployments": DEPLOYMENTS}))
    started = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
    started.start(["triton", "inference"], bound=True)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
async def retrieval(platform: Platform) -> AsyncIterator[Caller]:
    caller = Caller(platform, "retrieval")
    await ready(caller, "minilm")
    yield caller
    await caller.close()


@pytest.fixture
async def guardrails(platform: Platform) -> AsyncIterator[Caller]:
    caller = Caller(platform, "guardrails")
    await ready(caller, "one-of")
    yield caller
    await caller.close()


async def ready(caller: Caller, name: str) -> None:
    """Wait until the service has seen that a deployment serves."""
    deadline = time.monotonic() + PATIENCE_S
    while (await status(caller, name)).state != "ready":
        assert time.monotonic() < deadline, f"{name} was not ready in time"
        await asyncio.sleep(0.1)


async def status(caller: Caller, name: str) -> pb.DeploymentStatus:
    found = await caller.call("ListDeployments", pb.ListDeploymentsRequest())
    return next(entry for entry in found.deployments if entry.name == name)


async def statistics(platform: Platform, model: str) -> triton_pb.ModelStatistics:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{platform.port('triton-grpc')}") as channel:
        stub = triton_rpc.GRPCInferenceServiceStub(channel)
        found = await stub.ModelStatistics(triton_pb.ModelStatisticsRequest(name=model))
    return found.model_stats[0]


def vectors(answer: pb.EmbedResponse) -> list[tuple[float, ...]]:
    return [struct.unpack("<384f", embedding.vector) for embedding in answer.embeddings]


async def classify(caller: Caller, deployment: str, texts: list[str]) -> list[dict[str, float]]:
    answer = await caller.call("Classify", pb.ClassifyRequest(deployment=deployment, texts=texts))
    return [dict(one.scores) for one in answer.classifications]


async def test_a_text_has_the_same_vector_alone_and_among_others(retrieval):
    texts = ["A cat sat on the mat.", "word " * 100, "Revenue grew in the third quarter.", "x"] * 20
    together = vectors(await retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=texts)))
    alone = [
        vectors(await retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=[text])))[0]
        for text in texts[:4]
    ]
    for number, vector in enumerate(together):
        # The int8 model scales its numbers by what is in the batch.
        assert sum(a * b for a, b in zip(vector, alone[number % 4], strict=True)) > 0.98
        assert math.isclose(sum(value * value for value in vector), 1, abs_tol=1e-4)


async def test_small_requests_that_meet_are_computed_together(platform, retrieval):
    before = await statistics(platform, "minilm")
    requests = [pb.EmbedRequest(deployment="minilm", texts=[f"text number {number}"]) for number in range(48)]
    await asyncio.gather(*(retrieval.call("Embed", request) for request in requests))
    after = await statistics(platform, "minilm")
    assert after.inference_count - before.inference_count == 48
    assert after.execution_count - before.execution_count <= 24
    assert max(batch.batch_size for batch in after.batch_stats) > 1


async def test_one_text_that_is_too_long_fails_alone(retrieval):
    """Others that Triton computes together with it are answered."""
    good = [retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=["short"])) for _ in range(8)]
    bad = [retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=["long " * 400])) for _ in range(8)]
    mixed = [call for pair in zip(good, bad, strict=True) for call in pair]
    ends = await asyncio.gather(*mixed, return_exceptions=True)
    assert all(len(end.embeddings) == 1 for end in ends[::2])
    assert {(type(end), end.code) for end in ends[1::2]} == {(BadInput, "context_length_exceeded")}


async def test_probabilities_of_one_label_in_several_are_those_of_the_cross_encoder(retrieval, guardrails):
    pairs = [f"Query: {QUERY}\nSentence: {document}" for document in DOCUMENTS]
    found = await classify(guardrails, "one-of", pairs)
    request = pb.RerankRequest(deployment="reranker", query=QUERY, documents=DOCUMENTS)
    scores = (await retrieval.call("Rerank", request)).scores
    for probabilities, score in zip(found, scores, strict=True):
        assert set(probabilities) == set(LABELS)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert math.log(probabilities["relevant"] / probabilities["irrelevant"]) == pytest.approx(score, abs=0.3)
    assert max(range(3), key=lambda number: found[number]["relevant"]) == 1


async def test_labels_that_exclude_nothing_are_judged_one_by_one(guardrails):
    pairs = [f"Query: {QUERY}\nSentence: {document}" for document in DOCUMENTS]
    one, many = await classify(guardrails, "one-of", pairs), await classify(guardrails, "any-of", pairs)
    for exclusive, judged in zip(one, many, strict=True):
        assert all(0 <= value <= 1 for value in judged.values())
        between = {label: math.log(value / (1 - value)) for label, value in judged.items()}
        wanted = math.log(exclusive["relevant"] / exclusive["irrelevant"])
        assert between["relevant"] - between["irrelevant"] == pytest.approx(wanted, abs=0.3)


async def test_a_text_beyond_the_model_is_cut(guardrails):
    (found,) = await classify(guardrails, "one-of", [f"Query: {QUERY}\nSentence: {DOCUMENTS[1]}" + " filler" * 2000])
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


async def test_a_model_with_other_labels_than_named_does_not_load_and_says_why(guardrails):
    deadline = time.monotonic() + PATIENCE_S
    while (found := await status(guardrails, "mislabelled")).state != "failed":
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    assert "tells 2 labels apart, the deployment names 3" in found.detail
    with pytest.raises(NotReady):
        await classify(guardrails, "mislabelled", ["x"])
