"""Whatever comes over gRPC: a status that is not our fault; and the gateway serves on."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import NoOpTracer

from headrace_gateway.fakes import Script
from headrace_gateway.grpc_api.gateway import GatewayServicer
from headrace_gateway.grpc_api.once import GrpcOnce
from headrace_kit.rpc import RpcRuntime
from headrace_kit.rpc.identity import Verifier
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc

SERVICE = "/headrace.gateway.v1.GatewayService/"
AUTH = ("authorization", "Bearer hr_dev")
OURS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
UNARY = {"Generate": pb.GenerateRequest, "Embed": pb.EmbedRequest, "Rerank": pb.RerankRequest}
FUZZ = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@contextlib.asynccontextmanager
async def gateway(rig):
    runtime = RpcRuntime.create("gateway", Verifier("gateway", Path("nowhere")), NoOpTracer(), rig.registry)
    server = aio.server()
    once = GrpcOnce(rig.once, rig.in_flight)
    servicer = GatewayServicer(runtime, rig.door, rig.pipeline, rig.vectors, once, None, None, None)
    service_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
            rig.engine.scripts["small"] = [Script()]
            assert await send(channel, "Generate", hi().SerializeToString()) is grpc.StatusCode.OK
            async with asyncio.timeout(30):
                while rig.in_flight.total:
                    await asyncio.sleep(0.01)
            assert not [left for left in rig.left if left.error == "internal_error"]
    finally:
        await server.stop(None)


def hi():
    request = pb.GenerateRequest(model="plain")
    request.messages.add(role="user").parts.add(text="hi")
    return request


async def send(channel, method, raw, metadata=()):
    """The status that a call with these bytes as its message ends with."""
    call = channel.unary_unary(SERVICE + method)(raw, metadata=(AUTH, *metadata), timeout=30)
    try:
        await call
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def fuzzing(run):
    """Run a hypothesis test, which blocks, beside the loop that serves."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(run, lambda made: asyncio.run_coroutine_threadsafe(made, loop).result(60))


async def test_random_bytes_as_messages(rig):
    async with gateway(rig) as channel:

        def run(wait):
            @FUZZ
            @given(st.sampled_from(sorted(UNARY)), st.binary(max_size=200), st.integers(0, 40))
            def fuzz(method, noise, at):
                real = hi().SerializeToString()
                for raw in (noise, real[:at] + noise + real[at:]):
                    status = wait(send(channel, method, raw))
                    assert status is not grpc.StatusCode.DATA_LOSS
                    # What is no message at all never reaches the gateway: gRPC itself says INTERNAL.
                    if _parses(UNARY[method], raw):
                        assert status not in OURS and status is not grpc.StatusCode.INTERNAL, (method, raw)

            fuzz()

        await fuzzing(run)


def _parses(kind, raw):
    try:
        kind.FromString(raw)
    except Exception:
        return False
    return True


NUMBERS = st.floats(width=32) | st.sampled_from([float("nan"), float("inf"), -0.0])


@st.composite
def requests(draw):
    request = hi()
    sampling = request.sampling
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        if draw(st.booleans()):
            setattr(sampling, name, draw(NUMBERS))
    if draw(st.booleans()):
        sampling.n = draw(st.integers(0, 2**32 - 1))
    sampling.stop.extend(draw(st.lists(st.text(max_size=4), max_size=6)))
    sampling.tool_choice = draw(st.text(max_size=4))
    sampling.response_format.type = draw(st.sampled_from(["", "text", "json_object", "json_schema", "regex", "x"]))
    sampling.response_format.regex = draw(st.text(max_size=8))
    message = request.messages.add(role=draw(st.sampled_from(["user", "tool", "assistant", "", "x"])))
    for text in draw(st.lists(st.text(max_size=8), max_size=3)):
        message.parts.add(text=text)
    if draw(st.booleans()):
        message.parts.add().image.url = draw(st.text(max_size=16))
    request.model = draw(st.sampled_from(["plain", "guarded", "assistant", "minilm", "", "\0", "x" * 5000]))
    request.prompt = draw(st.sampled_from(["", "x"]))
    options = request.headrace
    options.collections.extend(draw(st.lists(st.text(max_size=8), max_size=2)))
    options.guardrails, options.route = draw(st.text(max_size=4)), draw(st.text(max_size=4))
    options.user, options.cache = draw(st.text(max_size=4)), draw(st.sampled_from(["", "use", "x"]))
    request.end_user = draw(st.text(max_size=4))
    return request


async def test_random_values_in_messages(rig):
    async with gateway(rig) as channel:

        def run(wait):
            @FUZZ
            @given(requests())
            def fuzz(request):
                status = wait(send(channel, "Generate", request.SerializeToString()))
                assert status not in OURS and status is not grpc.StatusCode.INTERNAL

            fuzz()

        await fuzzing(run)


async def test_wrong_and_large_metadata(rig):
    wrong = [
        [("headrace-deadline-ms", "9" * 400)],
        [("headrace-deadline-ms", "-1")],
        [("headrace-deadline-ms", "1e9")],
        [("traceparent", "00-" + "g" * 600)],
        [("idempotency-key", "k" * 300)],
        [("x-headrace-groups", ",".join(["g"] * 300))],
        [("x-headrace-user", "u" * 2000)],
        [("x-headrace-tenant", "red")],
        [("idempotency-key-bin", b"\xff\x00")],
        [("x-large", "a" * 200_000)],
        [(f"x-{number}", "a") for number in range(2000)],
    ]
    async with gateway(rig) as channel:
        for metadata in wrong:
            status = await send(channel, "Generate", hi().SerializeToString(), metadata)
            assert status not in OURS and status is not grpc.StatusCode.INTERNAL, metadata[0]
        for key in ("", "Bearer", "Bearer ~", "Bearer " + "a" * 5000):
            call = channel.unary_unary(SERVICE + "Generate")(
                hi().SerializeToString(), metadata=(("authorization", key),), timeout=30
            )
            with contextlib.suppress(aio.AioRpcError):
                await call
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED, key


async def test_calls_that_are_left_at_any_time(rig):
    rig.engine.scripts["small"] = [Script(["a"] * 20)]
    async with gateway(rig) as channel:
        for steps in range(0, 60, 3):
            key = [("idempotency-key", f"k{steps}")] if steps % 2 else []
            call = channel.unary_stream(SERVICE + "GenerateStream")(hi().SerializeToString(), metadata=(AUTH, *key))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError, aio.AioRpcError):
                async for _ in call:
                    pass
        assert await send(channel, "Nothing", b"") is grpc.StatusCode.UNIMPLEMENTED
