"""What Triton's own metrics say of a model's load: of Triton's queue, and of engines that report through Triton."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TypeAlias

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace_inference.ports import EngineStats

_FRESH_S = 0.5
_TIMEOUT_S = 1.0
_MOST_BYTES = 8 << 20

Samples: TypeAlias = tuple[tuple[str, dict[str, str]], ...]

_REQUESTS = "nv_trt_llm_request_metrics"
_RUNNING: Samples = ((_REQUESTS, {"request_type": "scheduled"}), (_REQUESTS, {"request_type": "active"}),
            ("vllm:num_requests_running", {}))  # fmt: skip
_WAITING: Samples = ((_REQUESTS, {"request_type": "waiting"}), ("vllm:num_requests_waiting", {}),
            ("nv_inference_pending_request_count", {}))  # fmt: skip
_CACHE: Samples = (("nv_trt_llm_kv_cache_block_metrics", {"kv_cache_block_type": "fraction"}),
          ("vllm:kv_cache_usage_perc", {}), ("vllm:gpu_cache_usage_perc", {}))  # fmt: skip
"""Samples that tell, the first that is there counts."""


class TritonMetrics:
    """Reads the metrics of one Triton, for all its models at once.

    Args:
        address: host:port of its metrics.
    """

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/metrics"
        self._session: aiohttp.ClientSession | None = None
        self._lock = asyncio.Lock()
        self._samples: dict[str, list[Sample]] = {}
        self._read_at = -_FRESH_S

    async def of(self, model: str) -> EngineStats:
        """What they say of a model, at most half a second old. Raises nothing: what cannot be had is None."""
        async with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._samples = _by_model(await self._text())
                self._read_at = time.monotonic()
        return stats(self._samples.get(model, []))

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def _text(self) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._session.get(self._url) as response:
                if response.status == 200:
                    return (await response.content.read(_MOST_BYTES)).decode("utf-8", "replace")
        return ""


def stats(samples: list[Sample]) -> EngineStats:
    """What the samples of one model say; versions that are loaded beside each other count together."""
    cache, running, waiting = (_first(samples, names) for names in (_CACHE, _RUNNING, _WAITING))
    return EngineStats(
        kv_cache_used=max(cache) if cache else None,
        running=round(sum(running)) if running else None,
        waiting=round(sum(waiting)) if waiting else None,
    )


def _by_model(text: str) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    with contextlib.suppress(ValueError):  # cut off, or not metrics
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = sample.labels.get("model") or sample.labels.get("model_name")
                if model:
                    found.setdefault(model, []).append(sample)
    return found


def _first(samples: list[Sample], names: tuple[tuple[str, Mapping[str, str]], ...]) -> list[float]:
    for name, labels in names:
        found = [
            sample.value
            for sample in samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        ]
        if found:
            return found
    return []
