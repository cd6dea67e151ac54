"""Our Triton models behind the inference service: real weights, real Triton, real gRPC."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

import headrace_local
from headrace_kit.config.deployments import Deployment
from headrace_kit.config.loading import load
from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc as rpc

DEPLOYMENTS = ("small", "scripted", "minilm", "reranker")
PATIENCE_S = 60


class Caller:
    """Calls the inference service as another service of the platform."""

    def __init__(self, platform: Platform, service: str) -> None:
        signer = Signer(service, platform.layout.secrets / "signing")
        self._peer = Peer("inference", f"127.0.0.1:{platform.port('inference-grpc')}", signer)
        self._stub = self._peer.stub(rpc.InferenceServiceStub)
        self._outbound = Outbound(Identity(service, tenant="dev"), "request")

    async def call(self, method: str, request: object, within_s: float = PATIENCE_S):
        return await self._peer.unary(getattr(self._stub, method), request, self._outbound.within(within_s))

    def stream(self, request: pb.GenerateRequest, within_s: float = PATIENCE_S) -> AsyncIterator[pb.GenerateChunk]:
        return self._peer.stream(self._stub.GenerateStream, request, self._outbound.within(within_s))

    async def chunks(self, request: pb.GenerateRequest) -> list[pb.GenerateChunk]:
        async with aclosing(self.stream(request)) as chunks:
            return [chunk async for chunk in chunks]

    async def running(self, deployment: str) -> int:
        loads = await self.call("GetLoad", pb.GetLoadRequest(deployments=[deployment]))
        return loads.loads[0].running

    async def close(self) -> None:
        await self._peer.close()


def config_text() -> str:
    """The default config's deployments without the larger language model."""
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    deployments: dict[str, Deployment] = {name: default.deployments[name] for name in DEPLOYMENTS}
    used = {getattr(deployment, "model", None) for deployment in deployments.values()}
    return json.dumps(
        {
            "catalogue": {
                name: entry.model_dump(mode="json", exclude_none=True)
                for name, entry in default.catalogue.items()
                if name in used
            },
            "deployments": {
                name: entry.model_dump(mode="json", exclude_none=True) for name, entry in deployments.items()
            },
        }
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("inference")
    config = folder / "headrace.yaml"
    config.write_text(config_text())
    started = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
    started.start(["triton", "inference"], bound=True)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
async def gateway(platform) -> AsyncIterator[Caller]:
    caller = Caller(platform, "gateway")
    yield caller
    await caller.close()


@pytest.fixture
async def retrieval(platform) -> AsyncIterator[Caller]:
    caller = Caller(platform, "retrieval")
    yield caller
    await caller.close()


def ask(deployment: str, text: str | dict, **sampling) -> pb.GenerateRequest:
    said = text if isinstance(text, str) else json.dumps(text)
    message = chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=said)])
    return pb.GenerateRequest(deployment=deployment, messages=[message], sampling=chat_pb2.Sampling(**sampling))


async def until(condition: Callable, within_s: float = PATIENCE_S) -> None:
    """Wait until an async condition holds; a HeadraceError counts as not yet."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if await condition():
                return
        except HeadraceError:
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_forty_streams_at_once_each_arrive_whole_and_in_order(gateway):
    answers = await asyncio.gather(*(gateway.chunks(ask("scripted", {"tokens": 50})) for _ in range(40)))
    wanted = "".join(f" word{number}" for number in range(50))
    for chunks in answers:
        assert "".join(chunk.text for chunk in chunks) == wanted
        # On a busy machine the usage may come in a message of its own, behind the reason.
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
        assert chunks[-1].HasField("usage")
        assert chunks[-1].usage.output_tokens == 50 == sum(chunk.stats.tokens for chunk in chunks)
        assert len(chunks) < 50, "tokens are batched into messages"


async def test_the_small_model_answers_with_usage_and_log_probabilities(gateway):
    prompt = "Say hello. " + "The river is wide and the stone is old. " * 10  # short beginnings are not looked for
    chunks = await gateway.chunks(ask("small", prompt, max_tokens=8, temperature=0, top_logprobs=2))
    assert "".join(chunk.text for chunk in chunks).strip()
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] in (["stop"], ["length"])
    assert chunks[-1].usage.input_tokens > 5
    assert 0 < chunks[-1].usage.output_tokens <= 8
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    assert entries
    for entry in entries:
        assert entry.logprob <= 0
        assert 1 <= len(entry.top) <= 2
    again = await gateway.call("Generate", ask("small", prompt, max_tokens=8, temperature=0, top_logprobs=2))
    assert again.choices[0].text == "".join(chunk.text for chunk in chunks)
    assert again.usage.cached_input_tokens > 0, "the prompt was still in a slot"


async def test_an_answer_keeps_to_a_json_schema(gateway):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    wanted = chat_pb2.ResponseFormat(type="json_schema", name="n", schema_json=json.dumps(schema))
    answer = await gateway.call("Generate", ask("small", "One or two?", max_tokens=40, response_format=wanted))
    assert json.loads(answer.choices[0].text)["n"] in (1, 2)
    broken = chat_pb2.ResponseFormat(type="json_schema", name="n", schema_json='{"type": "strange"}')
    with pytest.raises(BadInput) as refused:
        await gateway.call("Generate", ask("small", "x", max_tokens=4, response_format=broken))
    assert refused.value.code == "invalid_json_schema"


async def test_a_prompt_beyond_the_context_is_refused_with_its_code(gateway):
    with pytest.raises(BadInput) as refused:
        await gateway.chunks(ask("small", "word " * 5000))
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("prompt", ["Count to a thousand.", "word " * 2000], ids=["decoding", "prefill"])
async def test_leaving_frees_the_slot_and_others_are_served(gateway, prompt):
    streams = [asyncio.create_task(gateway.chunks(ask("small", prompt, max_tokens=800))) for _ in range(4)]
    await until(lambda: _equals(gateway.running("small"), 4))
    await asyncio.sleep(0.3)  # let it get into the phase in question
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    await until(lambda: _equals(gateway.running("small"), 0))
    # Were the engine still busy with 4 x 800 tokens, this would wait for a slot for minutes.
    answer = await gateway.call("Generate", ask("small", "Hi", max_tokens=2), within_s=20)
    assert answer.usage.output_tokens == 2


async def _equals(found, wanted: int) -> bool:
    return await found == wanted


async def test_answers_left_at_their_very_end_do_not_bring_triton_down(platform, gateway):
    """A gRPC cancel in that moment crashes Triton 2.51 within a few dozen tries; ours is a message to the model."""
    before = platform.status().units["triton"]

    async def leave() -> None:
        for _ in range(50):
            async with aclosing(gateway.stream(ask("scripted", {"tokens": 3}))) as chunks:
                await anext(chunks)

    await asyncio.gather(*(leave() for _ in range(6)))
    await until(lambda: _equals(gateway.running("scripted"), 0))
    after = platform.status().units["triton"]
    assert (after.pid, after.restarts) == (before.pid, before.restarts)


async def test_a_scripted_failure_comes_after_what_was_said(gateway):
    said = []
    with pytest.raises(Upstream) as failed:
        async with aclosing(gateway.stream(ask("scripted", {"tokens": 9, "fail_after": 3}))) as chunks:
            async for chunk in chunks:
                said.append(chunk.text)
    assert "".join(said) == " word0 word1 word2"
    assert failed.value.code == "engine_failed"


async def test_a_silent_model_is_let_go_when_the_deadline_passes(gateway):
    with pytest.raises(HeadraceError) as failed:
        async with aclosing(
            gateway.stream(ask("scripted", {"fail_after": 0, "error": "hang"}), within_s=0.5)
        ) as chunks:
            async for _ in chunks:
                pass
    assert failed.value.code == "deadline_exceeded"
    await until(lambda: _equals(gateway.running("scripted"), 0))


async def test_embeddings_are_normalised_and_alike_texts_are_near(retrieval):
    texts = ["A cat sat on the mat.", "A kitten lay on the rug.", "Revenue grew in the third quarter."] * 30
    answer = await retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=texts))
    vectors = [struct.unpack("<384f", embedding.vector) for embedding in answer.embeddings]
    assert len(vectors) == 90
    assert all(math.isclose(dot(vector, vector), 1, abs_tol=1e-4) for vector in vectors)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.2
    assert dot(vectors[0], vectors[87]) > 0.999
    assert answer.usage.input_tokens > 90


def dot(one, other) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_a_text_that_is_too_long_is_named_or_cut(retrieval):
    texts = ["short"] * 70 + ["long " * 400]
    with pytest.raises(BadInput) as refused:
        await retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=texts))
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "texts[70]")
    cut = await retrieval.call("Embed", pb.EmbedRequest(deployment="minilm", texts=texts[-1:], truncate=True))
    assert cut.usage.input_tokens == 256


async def test_the_passage_that_answers_scores_highest(retrieval):
    documents = [
        "The cafeteria opens at noon.",
        "To reset a password, open the settings and choose reset.",
        "Our office has a garden.",
    ]
    request = pb.RerankRequest(deployment="reranker", query="How do I reset my password?", documents=documents)
    scores = (await retrieval.call("Rerank", request)).scores
    assert max(range(3), key=scores.__getitem__) == 1
    backwards = pb.RerankRequest(deployment="reranker", query=request.query, documents=documents[::-1])
    assert (await retrieval.call("Rerank", backwards)).scores == pytest.approx(scores[::-1], abs=0.2)


async def test_unload_and_load_over_tritons_model_control(platform, gateway):
    rollout = Caller(platform, "rollout")
    assert (
        await rollout.call("UnloadDeployment", pb.UnloadDeploymentRequest(deployment="scripted"))
    ).state == "unloaded"
    with pytest.raises(NotReady):
        await gateway.chunks(ask("scripted", "hello"))
    assert (await rollout.call("LoadDeployment", pb.LoadDeploymentRequest(deployment="scripted"))).state == "ready"
    assert "".join(chunk.text for chunk in await gateway.chunks(ask("scripted", "hello"))) == "You said: hello"
    await rollout.close()


async def test_a_model_process_that_dies_ends_its_streams_and_is_loaded_afresh(gateway):
    with pytest.raises(Upstream):
        await gateway.chunks(ask("scripted", {"tokens": 9, "fail_after": 2, "error": "crash"}))

    async def serves() -> bool:
        return "".join(chunk.text for chunk in await gateway.chunks(ask("scripted", "hello"))) == "You said: hello"

    await until(serves)


async def test_killing_triton_ends_every_stream_honestly_and_service_returns_by_itself(platform, gateway):
    streams = [
        asyncio.create_task(gateway.chunks(ask("scripted", {"tokens": 900, "tokens_per_s": 10}))) for _ in range(20)
    ]
    await until(lambda: _equals(gateway.running("scripted"), 20))
    await asyncio.sleep(0.5)
    platform.kill("triton")
    ends = await asyncio.gather(*streams, return_exceptions=True)
    assert {type(end) for end in ends} == {Upstream}

    async def serves() -> bool:
        return bool((await gateway.call("Generate", ask("small", "Hi", max_tokens=2))).choices)

    await until(serves, within_s=120)
