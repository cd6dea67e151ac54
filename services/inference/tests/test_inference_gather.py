"""Chunks of many requests in one response: how a model gathers them, and how the service deals them out again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest
from grpc import aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc

from headrace_inference.adapters.triton import client as client_module
from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.wire import gathered, gathered_in, is_gathered
from headrace_inference.triton_models.shared.gather import FROM, Member, Outbox, frames
from headrace_kit.errors import Upstream

PATIENCE_S = 20


class Sent:
    """What was sent in response to one request."""

    def __init__(self, key: bytes) -> None:
        self.documents: list[bytes] = []
        self.some = threading.Event()
        self.member = Member(key.ljust(16, b"."), self._send)

    def _send(self, document: bytes) -> None:
        self.documents.append(document)
        self.some.set()

    def frames(self) -> list[tuple[bytes, int, bytes]]:
        return [frame for document in self.documents for frame in read(document)]


def read(document: bytes) -> list[tuple[bytes, int, bytes]]:
    contents = len(document).to_bytes(4, "little") + document
    assert is_gathered(contents)
    return list(gathered_in(contents))


@pytest.fixture
def outbox():
    made = Outbox()
    yield made
    made.close()


def together(outbox: Outbox, count: int) -> list[Sent]:
    """Requests that have said their first words."""
    found = [Sent(bytes([97 + number])) for number in range(count)]
    for one in found:
        outbox.join(one.member)
        outbox.put(one.member, b"first")
    for one in found:
        one.documents.clear()
        one.some.clear()
    return found


def test_first_words_leave_at_once_in_the_request_itself(outbox):
    requests = [Sent(b"a"), Sent(b"b")]
    for one in requests:
        outbox.join(one.member)
        outbox.put(one.member, b"hello")
        assert one.frames() == [(one.member.key, 0, b"hello")]


def test_a_few_requests_wait_for_nobody(outbox):
    for one in together(outbox, FROM - 1):
        outbox.put(one.member, b"more")
        assert one.frames() == [(one.member.key, 1, b"more")]


def test_what_many_say_at_once_leaves_in_one_response(outbox):
    requests = together(outbox, 8)
    outbox._sending.acquire()  # a response is just being sent: what comes meanwhile waits for the next
    for one in requests:
        outbox.put(one.member, b"more")
    outbox._sending.release()
    assert requests[0].some.wait(PATIENCE_S)
    assert [(key, piece) for key, _, piece in requests[0].frames()] == [(one.member.key, b"more") for one in requests]
    assert all(not one.documents for one in requests[1:])


def test_who_ends_takes_along_what_waits_and_carries_nothing_afterwards(outbox):
    requests = together(outbox, 4)
    outbox._wanted.set = lambda: None  # the thread that gathers sleeps
    for one in requests[1:]:
        outbox.put(one.member, b"more")
    outbox.leave(requests[0].member)
    assert [frame[1:] for frame in requests[0].frames()] == [(1, b"more")] * 3 + [(1, b"")]
    requests[0].documents.clear()
    outbox.leave(requests[1].member)
    assert requests[0].documents == []
    assert requests[1].frames() == [(requests[1].member.key, 2, b"")]


def test_a_request_whose_client_has_left_carries_nothing_for_others(outbox):
    requests = together(outbox, 4)
    outbox._wanted.set = lambda: None
    requests[0].member.leaving = True
    outbox.put(requests[2].member, b"more")
    outbox.leave(requests[0].member)
    assert requests[0].documents == []
    assert [frame[2] for frame in requests[1].frames()] == [b"more", b""]


def test_an_outbox_is_idle_when_all_have_left(outbox):
    requests = together(outbox, 3)
    assert not outbox.idle()
    for one in requests:
        outbox.leave(one.member)
    assert outbox.idle()


class FakeTriton(rpc.GRPCInferenceServiceServicer):
    """Lets the test answer each request, by the text of its prompt."""

    def __init__(self) -> None:
        self.calls: dict[bytes, asyncio.Queue[pb.ModelStreamInferResponse]] = {}
        self.ids: dict[bytes, bytes] = {}
        self.cancels: list[bytes] = []

    async def ModelStreamInfer(self, request_iterator, context):
        requests = aiter(request_iterator)
        request = await anext(requests)
        name = request.raw_input_contents[0].rpartition(b",")[2]
        answers = self.calls.setdefault(name, asyncio.Queue())
        self.ids[name] = request.id.encode()
        while True:
            response = await answers.get()
            yield response
            if response.infer_response.parameters["triton_final_response"].bool_param:
                break
        self.cancels += [more.raw_input_contents[0] async for more in requests]

    def say(self, carrier: bytes, *pieces: tuple[bytes, int, bytes]) -> None:
        """Frames in the response to `carrier`; pieces are name, number, piece."""
        document = frames([(self.ids[name], number, piece) for name, number, piece in pieces])
        response = pb.ModelStreamInferResponse()
        response.infer_response.raw_output_contents.append(len(document).to_bytes(4, "little") + document)
        self.calls[carrier].put_nowait(response)

    def end(self, name: bytes) -> None:
        response = pb.ModelStreamInferResponse()
        response.infer_response.parameters["triton_final_response"].bool_param = True
        self.calls[name].put_nowait(response)


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    fake = FakeTriton()
    server = aio.server()
    rpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield fake
    await server.stop(None)


@pytest.fixture
async def client(triton) -> AsyncIterator[TritonClient]:
    made = TritonClient(f"127.0.0.1:{triton.port}")
    yield made
    await made.close()


class Reader:
    """Reads one answer in a task of its own."""

    def __init__(self, client: TritonClient, name: bytes) -> None:
        self.read: list[bytes] = []
        self._stream = client.stream("m", gathered(b'{"x":1,' + name, client.name))
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with aclosing(self._stream) as documents:
            async for document in documents:
                self.read.append(document)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_chunks_reach_their_requests_in_order_whoever_carries_them(triton, client):
    one, two = Reader(client, b"one"), Reader(client, b"two")
    await until(lambda: len(triton.ids) == 2)
    triton.say(b"one", (b"two", 1, b"world"), (b"one", 0, b"a"))
    await until(lambda: one.read == [b"a"])
    assert two.read == [], "its first chunk is still on its way"
    triton.say(b"two", (b"two", 0, b"hello"), (b"one", 1, b"b"), (b"one", 2, b""), (b"two", 2, b""))
    triton.end(b"two")
    triton.end(b"one")
    await asyncio.wait_for(asyncio.gather(one.task, two.task), PATIENCE_S)
    assert (one.read, two.read) == ([b"a", b"b"], [b"hello", b"world"])
    assert triton.cancels == []


async def test_the_final_response_may_overtake_chunks_that_others_carry(triton, client):
    one, two = Reader(client, b"one"), Reader(client, b"two")
    await until(lambda: len(triton.ids) == 2)
    triton.say(b"one", (b"one", 0, b"a"), (b"one", 2, b""))
    triton.end(b"one")
    await until(lambda: one.read == [b"a"])
    triton.say(b"two", (b"one", 1, b"b"), (b"two", 0, b""))
    triton.end(b"two")
    await asyncio.wait_for(asyncio.gather(one.task, two.task), PATIENCE_S)
    assert one.read == [b"a", b"b"]


async def test_a_request_that_was_left_still_carries_for_others(triton, client):
    left, other = Reader(client, b"left"), Reader(client, b"other")
    await until(lambda: len(triton.ids) == 2)
    left.task.cancel()
    await asyncio.gather(left.task, return_exceptions=True)
    triton.say(b"left", (b"left", 0, b"nobody reads this"), (b"other", 0, b"a"), (b"other", 1, b""))
    await asyncio.wait_for(other.task, PATIENCE_S)
    assert other.read == [b"a"]
    triton.end(b"left")
    triton.end(b"other")
    await until(lambda: len(triton.cancels) == 1)


async def test_a_chunk_that_never_comes_ends_the_answer_as_broken(triton, client, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_S", 0.2)
    one = Reader(client, b"one")
    await until(lambda: len(triton.ids) == 1)
    triton.say(b"one", (b"one", 1, b"b"), (b"one", 2, b""))
    triton.end(b"one")
    with pytest.raises(Upstream):
        await asyncio.wait_for(one.task, PATIENCE_S)
    assert one.read == []


async def test_a_client_without_a_server_fails_as_before():
    client = TritonClient("127.0.0.1:1")
    reader = Reader(client, b"one")
    with pytest.raises(client_module.NotReady):
        await asyncio.wait_for(reader.task, PATIENCE_S)
    await client.close()
