"""What differs between servers that all speak OpenAI's API.

Sources: vLLM `entrypoints/openai/*/protocol.py` and its metrics page; SGLang `srt/entrypoints/openai/protocol.py` and
its metrics page; NIM LLM 2.x, which is vLLM or SGLang inside (its own `nvext` object is gone since 2.0); TGI 3
`router/src/{lib,server,chat}.rs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Metrics:
    """Names of a server's Prometheus metrics; each tuple holds the newest name first.

    `acceptance` is a share of draft tokens as a gauge; `drafted` and `accepted` are counters to make it from.
    """

    running: tuple[str, ...]
    waiting: tuple[str, ...]
    kv_cache: tuple[str, ...] = ()
    acceptance: str = ""
    drafted: str = ""
    accepted: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server.

    Attributes:
        health: path that answers 200 when it serves.
        version: path of its version, and the key in the JSON object there.
        starting: whether 503 on `health` means that it is still loading.
        salted: its prefix cache takes a salt a request, `cache_salt`.
        counts_tokens: streams can carry the exact token count with each event, `continuous_usage_stats`.
        keeps_stops: the stop string is part of the text.
        metrics_path: where its metrics are.
        null_limit: a bare prompt may have `max_tokens: null`, the rest of the context.
        adapter: how a request names a LoRA adapter as its model.
        cannot: options of a request that it ignores or gets wrong -> why.
        max_top_logprobs: most alternatives a token.
    """

    name: str
    metrics: Metrics
    health: str = "/health"
    version: tuple[str, str] = ("/version", "version")
    starting: bool = False
    salted: bool = True
    counts_tokens: bool = True
    keeps_stops: bool = False
    metrics_path: str = "/metrics"
    null_limit: bool = True
    adapter: str = "{adapter}"
    cannot: Mapping[str, str] = field(default_factory=dict)
    max_top_logprobs: int = 20


_VLLM_METRICS = Metrics(
    running=("vllm:num_requests_running",),
    waiting=("vllm:num_requests_waiting",),
    kv_cache=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    drafted="vllm:spec_decode_num_draft_tokens_total",
    accepted="vllm:spec_decode_num_accepted_tokens_total",
)

_NIM_METRICS = Metrics(  # the engine's own names since 2.0, before without its prefix
    running=(*_VLLM_METRICS.running, "num_requests_running"),
    waiting=(*_VLLM_METRICS.waiting, "num_requests_waiting"),
    kv_cache=(*_VLLM_METRICS.kv_cache, "gpu_cache_usage_perc"),
    drafted=_VLLM_METRICS.drafted,
    accepted=_VLLM_METRICS.accepted,
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "vllm": Dialect("vLLM", _VLLM_METRICS),
        "sglang": Dialect(
            "SGLang",
            Metrics(
                running=("sglang:num_running_reqs",),
                waiting=("sglang:num_queue_reqs",),
                kv_cache=("sglang:token_usage",),
                acceptance="sglang:spec_accept_rate",
            ),
            version=("/server_info", "version"),
            starting=True,
            null_limit=False,
            adapter="{model}:{adapter}",
        ),
        "nim": Dialect(
            "NIM",
            _NIM_METRICS,
            health="/v1/health/ready",
            version=("/v1/version", "release"),
            metrics_path="/v1/metrics",
            starting=True,
        ),
        "tgi": Dialect(
            "TGI",
            Metrics(running=("tgi_batch_current_size",), waiting=("tgi_queue_size",)),
            version=("/info", "version"),
            salted=False,
            counts_tokens=False,
            keeps_stops=True,
            max_top_logprobs=5,
            cannot=MappingProxyType(
                {
                    "n": "it gives one choice a request",
                    "top_k": "its chat API does not have it",
                    "presence_penalty": "it turns that into another penalty",
                    "prompt": "its completions report no usage; send messages",
                    "response_format.json_object": "it needs a schema; send json_schema",
                }
            ),
        ),
    }
)
"""By the `engine` of a deployment."""
