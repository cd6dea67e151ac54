"""What engines behind Triton say of their load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from headrace_inference.adapters.triton.engine import TritonEngine
from headrace_inference.adapters.triton.metrics import TritonMetrics
from headrace_inference.adapters.triton.wire import decode_stats
from headrace_inference.ports import EngineStats
from headrace_kit.errors import Upstream

METRICS = """\
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="minilm",version="1"} 3
nv_inference_pending_request_count{model="minilm",version="2"} 2
nv_inference_pending_request_count{model="big",version="1"} 0
# HELP nv_trt_llm_request_metrics TRT LLM request metrics
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="big",request_type="waiting",version="1"} 4
nv_trt_llm_request_metrics{model="big",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="big",request_type="scheduled",version="1"} 7
nv_trt_llm_request_metrics{model="big",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="big",request_type="active",version="1"} 11
# HELP nv_trt_llm_kv_cache_block_metrics TRT LLM KV cache block metrics
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="big",version="1"} 0.25
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="big",version="1"} 1000
"""


@asynccontextmanager
async def serving(body: str, status: int = 200) -> AsyncIterator[TritonMetrics]:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader = TritonMetrics("127.0.0.1:%d" % runner.addresses[0][1])
    try:
        yield reader
    finally:
        await reader.close()
        await runner.cleanup()


async def test_an_engine_that_reports_through_triton():
    async with serving(METRICS) as metrics:
        assert await metrics.of("big") == EngineStats(kv_cache_used=0.25, running=7, waiting=4)


async def test_a_model_in_tritons_queue_with_two_versions():
    async with serving(METRICS) as metrics:
        engine = TritonEngine("minilm", None, streams=False, metrics=metrics)  # type: ignore[arg-type]
        assert await engine.stats() == EngineStats(waiting=5)


@pytest.mark.parametrize(("body", "status"), [("", 500), ("not { metrics", 200), (METRICS, 404)])
async def test_what_cannot_be_read_is_unknown(body, status):
    async with serving(body, status) as metrics:
        assert await metrics.of("big") == EngineStats()


async def test_a_triton_that_is_away_says_nothing():
    metrics = TritonMetrics("127.0.0.1:9")
    assert await metrics.of("big") == EngineStats()
    await metrics.close()


def test_the_answer_of_our_own_models():
    assert decode_stats(b'{"stats":{"running":2,"waiting":0,"kv_cache_used":0.5}}') == EngineStats(0.5, 2, 0)
    assert decode_stats(b'{"stats":{}}') == EngineStats()
    for wrong in (b"{}", b'{"error":{"code":"engine_failed"}}', b"no"):
        with pytest.raises(Upstream):
            decode_stats(wrong)
