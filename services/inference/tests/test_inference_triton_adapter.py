"""The Triton adapter against a Triton of our own making, over real gRPC."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest
from grpc import aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc

from headrace_inference.adapters.triton import client as client_module
from headrace_inference.adapters.triton.client import ModelError, TritonClient
from headrace_inference.adapters.triton.engine import TritonEngine
from headrace_inference.adapters.triton.wire import stream_request
from headrace_inference.ports import Chunk, Generation, Sampling, Usage
from headrace_kit.errors import BadInput, Busy, HeadraceError, NotReady, Upstream

HELLO = Generation(messages=({"role": "user", "content": "hello"},))
GONE = "Request for unknown model: 'm' has no available versions"
END = {"index": 0, "finish_reason": "stop", "usage": {"input_tokens": 1, "output_tokens": 2}}


class FakeTriton(rpc.GRPCInferenceServiceServicer):
    """Streams `script`: documents, an error message, or one of these.

    `end` is the final response, `hang` waits for a cancel, `deaf` for ever, `abort` breaks the connection, and `close`
    ends the stream before the client does.
    """

    def __init__(self) -> None:
        self.script: list[object] = []
        self.asked: list[dict] = []
        self.infers: list[pb.ModelInferRequest] = []
        self.refuse: str | None = None
        self.unloadable = ""
        self.gone = 0
        """So many calls meet a server that is on its way out."""
        self.state = "READY"
        self.reason = ""
        self.versions: list[tuple[str, str, str]] = []
        """Version, state and reason of more entries of the index."""
        self.controls: list[str] = []
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.left_open: list[dict] = []

    async def ModelStreamInfer(self, request_iterator, context):
        requests = aiter(request_iterator)
        request = await anext(requests)
        assert request.parameters["triton_enable_empty_final_response"].bool_param
        asked = document(request)
        asked.pop("gather", None)
        self.asked.append(asked)
        if self.gone:
            self.gone -= 1
            yield pb.ModelStreamInferResponse(error_message=GONE)
            return
        for step in self.script:
            if step == "deaf":
                await asyncio.Event().wait()
            elif step == "hang":
                cancel = document(await anext(requests))
                assert cancel == {"cancel": request.id}
                self.cancelled.set()
                yield answer("end")
            elif step == "abort":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            elif isinstance(step, str) and step not in ("end", "close"):
                yield pb.ModelStreamInferResponse(error_message=step)
            elif step != "close":
                yield answer(step)
        if self.script[-1] != "close":
            self.left_open += [document(more) async for more in requests]
        self.closed.set()

    async def ModelInfer(self, request, context):
        self.infers.append(request)
        if self.gone:
            self.gone -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, GONE)
        if self.refuse is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refuse)
        rows = request.inputs[0].shape[0]
        response = pb.ModelInferResponse(model_name=request.model_name)
        number = len(self.infers)
        columns = (
            ("embedding", struct.pack("<2f", number, 0) * rows),
            ("score", struct.pack("<f", number) * rows),
            ("scores", struct.pack("<2f", rows / 256, 1 - rows / 256) * rows),
            ("tokens", struct.pack("<i", 3) * rows),
        )
        for name, contents in columns:
            response.outputs.add(name=name)
            response.raw_output_contents.append(contents)
        return response

    async def RepositoryIndex(self, request, context):
        model = pb.RepositoryIndexResponse.ModelIndex(name="m", state=self.state, reason=self.reason)
        more = [
            pb.RepositoryIndexResponse.ModelIndex(name="m", version=version, state=state, reason=reason)
            for version, state, reason in self.versions
        ]
        return pb.RepositoryIndexResponse(models=more or [model])

    async def RepositoryModelLoad(self, request, context):
        if request.model_name != "m":
            await context.abort(grpc.StatusCode.INTERNAL, "failed to load, failed to poll from model repository")
        if self.unloadable:
            await context.abort(grpc.StatusCode.INTERNAL, self.unloadable)
        self.controls.append("load")
        self.state = "READY"
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request, context):
        self.controls.append("unload")
        self.state = "UNAVAILABLE"
        return pb.RepositoryModelUnloadResponse()


def document(request: pb.ModelInferRequest) -> dict:
    return json.loads(request.raw_input_contents[0][4:])


def answer(said: object) -> pb.ModelStreamInferResponse:
    response = pb.ModelStreamInferResponse()
    inferred = response.infer_response
    if said == "end":
        inferred.parameters["triton_final_response"].bool_param = True
    else:
        data = json.dumps(said).encode()
        inferred.raw_output_contents.append(len(data).to_bytes(4, "little") + data)
    return response


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    fake = FakeTriton()
    server = aio.server()
    rpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    fake.server = server
    await server.start()
    yield fake
    await server.stop(None)


@pytest.fixture
async def engine(triton) -> AsyncIterator[TritonEngine]:
    client = TritonClient(f"127.0.0.1:{triton.port}")
    yield TritonEngine("m", client)
    await client.close()


async def collect(engine: TritonEngine, generation: Generation = HELLO) -> list[Chunk]:
    async with aclosing(engine.generate(generation)) as chunks:
        return [chunk async for chunk in chunks]


async def test_chunks_are_decoded_and_signs_of_life_dropped(triton, engine):
    prompt = {"input_tokens": 9, "cached_input_tokens": 4}
    said = {"index": 0, "text": "é", "tokens": 1, "sum_logprob": -1, "min_logprob": -1, "prompt": prompt}
    triton.script = [said, {}, END, "end"]
    chunks = await collect(engine)
    assert [chunk.text for chunk in chunks] == ["é", ""]
    assert (chunks[0].tokens, chunks[0].min_logprob, chunks[0].prompt) == (1, -1, Usage(9, 4))
    assert chunks[1].usage.output_tokens == 2
    assert triton.asked == [{"messages": [{"role": "user", "content": "hello"}]}]
    await asyncio.wait_for(triton.closed.wait(), 10)
    assert triton.left_open == [], "an answer that has ended is not cancelled"


async def test_only_what_was_asked_for_travels(triton, engine):
    triton.script = [END, "end"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    sampling = Sampling(temperature=0, stop=("x",), top_logprobs=0, response_format=schema)
    await collect(engine, Generation(prompt="p", sampling=sampling, want_stats=True))
    assert triton.asked == [
        {
            "prompt": "p",
            "temperature": 0,
            "stop": ["x"],
            "top_logprobs": 0,
            "response_format": schema,
            "want_stats": True,
        }
    ]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("context_length_exceeded", BadInput),
        ("engine_busy", Busy),
        ("engine_not_ready", NotReady),
        ("whatever", Upstream),
    ],
)
async def test_error_chunks_are_typed(triton, engine, code, kind):
    triton.script = [{"error": {"code": code, "message": "m", "param": "messages"}}, "end"]
    with pytest.raises(HeadraceError) as failed:
        await collect(engine)
    assert type(failed.value) is kind
    assert (failed.value.code, failed.value.param) == (code, "messages")


async def test_leaving_sends_the_model_a_cancel_on_its_stream(triton, engine):
    triton.script = [{"index": 0, "text": "a"}, "hang"]
    async with aclosing(engine.generate(HELLO)) as chunks:
        assert (await anext(chunks)).text == "a"
    await asyncio.wait_for(triton.cancelled.wait(), 10)


async def test_a_stream_that_ends_without_its_final_response_is_an_error(triton, engine):
    triton.script = [{"index": 0, "text": "a"}, "close"]
    with pytest.raises(Upstream):
        await collect(engine)


async def test_a_connection_that_breaks_is_upstream_after_the_first_chunk_and_not_ready_before(triton, engine):
    triton.script = [{"index": 0, "text": "a"}, "abort"]
    with pytest.raises(Upstream):
        await collect(engine)
    triton.script = ["abort"]
    with pytest.raises(NotReady):
        await collect(engine)
    await triton.server.stop(None)
    with pytest.raises(NotReady) as failed:
        await collect(engine)
    assert failed.value.retry_after_s
    assert (await engine.health()).state == "failed"


async def test_a_request_that_could_not_be_written_is_not_ready_whatever_the_code(triton, engine, monkeypatch):
    class Broken:
        def __call__(self) -> object:
            return self

        async def write(self, request: object) -> None:
            # What grpc.aio 1.85 raises when a write meets a goaway.
            raise aio.AioRpcError(grpc.StatusCode.INTERNAL, aio.Metadata(), aio.Metadata())

        def cancel(self) -> None:
            pass

    class Stub:
        ModelStreamInfer = Broken()

    monkeypatch.setattr(engine._client, "_stub", Stub)
    with pytest.raises(NotReady):
        await collect(engine)


async def test_a_model_that_is_not_loaded_is_not_ready_and_left_alone(triton, engine):
    triton.script, triton.state, triton.reason = ["no such model"], "UNAVAILABLE", "file is broken"
    with pytest.raises(NotReady, match="file is broken"):
        await collect(engine)
    assert triton.controls == []
    assert (await engine.health()).state == "failed"


async def test_a_model_that_the_repository_does_not_have_yet_may_come_and_one_that_cannot_be_will_not(triton):
    client = TritonClient(f"127.0.0.1:{triton.port}")
    with pytest.raises(NotReady, match="does not have 'new' yet") as caught:
        await client.load("new")
    assert caught.value.code == "engine_lacks_model"
    triton.unloadable = "the file is broken"
    with pytest.raises(Upstream, match="the file is broken"):
        await client.load("m")
    await client.close()


async def test_a_server_on_its_way_out_is_asked_again_elsewhere_and_nothing_is_loaded_afresh(
    triton, engine, monkeypatch
):
    monkeypatch.setattr(client_module, "_ELSEWHERE_S", (0.01, 0.01, 0.01))
    triton.script = [{"index": 0, "text": "a"}, END, "end"]
    triton.gone = 2
    assert "".join(chunk.text for chunk in await collect(engine) if isinstance(chunk, Chunk)) == "a"
    assert len(triton.asked) == 3
    triton.gone = 2
    await engine.embed(["x"], truncate=False)
    assert len(triton.infers) == 3
    triton.gone = 100
    with pytest.raises(NotReady, match="just unloaded"):
        await collect(engine)
    with pytest.raises(NotReady):
        await engine.embed(["x"], truncate=False)
    assert triton.controls == []


async def test_a_model_of_others_on_a_server_on_its_way_out_is_asked_again_elsewhere(triton, monkeypatch):
    monkeypatch.setattr(client_module, "_ELSEWHERE_S", (0.01, 0.01, 0.01))
    client = TritonClient(f"127.0.0.1:{triton.port}")

    async def ask() -> int:
        request = stream_request("m", b'{"n": 1}', "one")
        groups = client.responses(request, stream_request("m", b"{}", "stop"), silence_s=5, gather_s=0)
        async with aclosing(groups):
            return len([response async for group in groups for response in group])

    triton.script, triton.gone = [{"index": 0, "text": "a"}, "end"], 3
    assert await ask() == 2
    triton.gone = 100
    with pytest.raises(ModelError, match="unknown model"):
        await ask()
    assert len(triton.asked) == 4 + 4
    await client.close()


async def test_a_ready_model_whose_process_died_is_loaded_afresh_once(triton, engine):
    triton.script = ["stub is not healthy"]
    for _ in range(2):
        with pytest.raises(HeadraceError):
            await collect(engine)
    for _ in range(500):
        if len(triton.controls) >= 2:
            break
        await asyncio.sleep(0.01)
    assert triton.controls == ["unload", "load"]


async def test_a_silent_model_is_given_up_and_loaded_afresh(triton, engine, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_S", 0.2)
    monkeypatch.setattr(client_module, "_WIND_DOWN_S", 0.2)
    triton.script = [{"index": 0, "text": "a"}, "deaf"]
    with pytest.raises(Upstream, match="silent"):
        await collect(engine)
    for _ in range(500):
        if len(triton.controls) >= 2:
            break
        await asyncio.sleep(0.01)
    assert triton.controls == ["unload", "load"]


async def test_many_texts_are_split_into_requests_and_put_together_in_order(triton, engine):
    found = await engine.embed([str(number) for number in range(150)], truncate=False)
    assert sorted(request.inputs[0].shape[0] for request in triton.infers) == [22, 64, 64]
    assert len(found.vectors) == 150
    assert found.usage.input_tokens == 450
    scores = await engine.rerank("q", ["a", "bb"])
    assert len(scores.scores) == 2
    assert triton.infers[-1].raw_input_contents[1] == b"\x01\0\0\0a\x02\0\0\0bb"


async def test_a_text_that_is_too_long_is_named_by_its_place_in_the_whole_request(triton, engine):
    triton.refuse = json.dumps({"row": 3, "tokens": 300, "limit": 256})
    with pytest.raises(BadInput) as refused:
        await engine.embed(["x"] * 10, truncate=False)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "texts[3]")


@pytest.mark.parametrize(
    ("versions", "state", "detail"),
    [
        ([("1", "READY", ""), ("2", "UNAVAILABLE", "cut off")], "ready", ""),
        ([("2", "UNAVAILABLE", "cut off"), ("1", "READY", "")], "ready", ""),
        ([("1", "UNAVAILABLE", "unloaded"), ("2", "READY", "")], "ready", ""),
        ([("1", "UNAVAILABLE", "unloaded"), ("2", "UNAVAILABLE", "cut off")], "failed", "cut off"),
        ([("1", "UNAVAILABLE", "old"), ("2", "UNAVAILABLE", "cut off")], "failed", "cut off"),
        ([("1", "UNAVAILABLE", "old"), ("2", "LOADING", "")], "loading", ""),
    ],
)
async def test_a_model_is_as_well_as_its_best_version(triton, engine, versions, state, detail):
    triton.versions = versions
    found = await engine.health()
    assert (found.state, found.detail) == (state, detail)


async def test_texts_are_classified_in_batches_with_the_deployments_labels(triton):
    client = TritonClient(f"127.0.0.1:{triton.port}")
    try:
        found = await TritonEngine("m", client, ("calm", "angry")).classify(["text"] * 65)
        assert found.scores[0] == {"calm": 0.25, "angry": 0.75}
        assert found.scores[64] == {"calm": 1 / 256, "angry": 255 / 256}
        assert (len(found.scores), found.usage.input_tokens) == (65, 195)
        with pytest.raises(Upstream, match="130 scores for 65 texts and 3 labels"):
            await TritonEngine("m", client, ("a", "b", "c")).classify(["text"] * 65)
    finally:
        await client.close()
