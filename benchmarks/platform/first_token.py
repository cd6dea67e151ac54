"""Time to the first token: Triton called directly, through the gateway's HTTP, and through its gRPC, in turn."""

from __future__ import annotations

import statistics
import time

import aiohttp
import grpc

from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.wire import encode_generation
from headrace_inference.ports import Generation, Sampling
from headrace_local.platform import Platform
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc

_PROMPT = '{"tokens": ["one ", "two ", "three "]}'


async def compare(platform: Platform, model: str, requests: int) -> dict[str, float]:
    """Milliseconds: p50 of each way, and p50/p99 of what HTTP and gRPC add to the direct call beside them.

    `model` must be a deployment of the same name, with guardrails, without collections and cascade.
    """
    env = platform.env()
    triton = TritonClient(f"127.0.0.1:{platform.port('triton-grpc')}")
    direct: list[float] = []
    added: dict[str, list[float]] = {"http": [], "grpc": []}
    whole: dict[str, list[float]] = {"http": [], "grpc": []}
    headers = {"authorization": f"Bearer {env['HEADRACE_API_KEY']}"}
    async with (
        # aiohttp, because a slower client's own time would be counted as the platform's.
        aiohttp.ClientSession(env["HEADRACE_URL"], headers=headers) as http,
        grpc.aio.insecure_channel(env["HEADRACE_GRPC"]) as channel,
    ):
        stub = service_pb2_grpc.GatewayServiceStub(channel)  # type: ignore[no-untyped-call]
        for number in range(requests + 20):
            base = await _direct(triton, model)
            times = {"http": await _http(http, model), "grpc": await _grpc(stub, model, env["HEADRACE_API_KEY"])}
            if number < 20:
                continue  # warm-up
            direct.append(base)
            for path, taken in times.items():
                whole[path].append(taken)
                added[path].append(taken - base)
    await triton.close()
    figures = {"direct_ms_p50": statistics.median(direct) * 1000}
    for path in added:
        figures[f"{path}_ms_p50"] = statistics.median(whole[path]) * 1000
        figures[f"{path}_added_ms_p50"] = statistics.median(added[path]) * 1000
        figures[f"{path}_added_ms_p99"] = statistics.quantiles(added[path], n=100)[98] * 1000
    return figures


async def _direct(triton: TritonClient, model: str) -> float:
    generation = Generation(messages=({"role": "user", "content": _PROMPT},), sampling=Sampling(max_tokens=3))
    started, first = time.perf_counter(), 0.0
    async for _ in triton.stream(model, encode_generation(generation)):
        first = first or time.perf_counter() - started
    return first


async def _http(client: aiohttp.ClientSession, model: str) -> float:
    body = {"model": model, "messages": [{"role": "user", "content": _PROMPT}], "stream": True, "max_tokens": 3}
    started, first = time.perf_counter(), 0.0
    async with client.post("/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if not first and b'"content":"' in line and b'"content":""' not in line:
                first = time.perf_counter() - started
    return first


async def _grpc(stub: service_pb2_grpc.GatewayServiceStub, model: str, key: str) -> float:
    request = messages_pb2.GenerateRequest(
        model=model,
        messages=[chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=_PROMPT)])],
        sampling=chat_pb2.Sampling(max_tokens=3),
    )
    metadata = (("authorization", f"Bearer {key}"), ("application", "gateway"))
    started, first = time.perf_counter(), 0.0
    async for chunk in stub.GenerateStream(request, metadata=metadata):
        if chunk.text and not first:
            first = time.perf_counter() - started
    return first
