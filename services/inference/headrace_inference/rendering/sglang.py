"""SGLang: the command line of its server.

Sources: SGLang 0.5.23 srt/server_args.py and srt/arg_groups (fields/*.py, speculative_hook.py, lora_hook.py),
srt/speculative/ngram_worker.py (one n-gram store for all requests: refused), srt/speculative/adaptive_spec_params.py,
srt/function_call/function_call_parser.py.
"""

from __future__ import annotations

import json

from headrace_inference.rendering import checkpoint
from headrace_inference.rendering.commands import Command, Secret, listen
from headrace_inference.rendering.places import Places
from headrace_inference.rendering.schedule import engine_decides
from headrace_inference.rendering.vllm import MEDIA_PER_PROMPT
from headrace_kit.config.deployments import ServerDeployment
from headrace_kit.config.deployments.capabilities import keeps_prefixes

CHUNK_TOKENS = 8192
"""Size of a prompt's pieces where the config asks for pieces and names no size."""

ADAPTIVE_STEPS = (1, 3, 5, 7)
"""Lengths of drafts that SGLang's own schedule moves between."""

_QUANTIZATION = {"fp8": "fp8", "int4_awq": "awq", "nvfp4": "modelopt_fp4"}
_DTYPES = {"f16": "float16", "bf16": "bfloat16"}
_PARSERS = {"auto": "auto", "hermes": "hermes", "json": "llama3"}
_ALGORITHM = {"eagle3": "EAGLE3", "mtp": "NEXTN", "draft_model": "STANDALONE"}


def sglang_command(name: str, deployment: ServerDeployment, places: Places, *, plain: bool = False) -> Command:
    """`sglang.launch_server`.

    Raises:
        BadInput: the checkpoint is not what the config says, or an adapter's rank is nowhere.
        NotReady: files are not on this machine.
    """
    checkpoint.check_quantization(name, deployment, places)
    where = listen(deployment, plain=plain)
    argv: list[str | Secret] = ["python3", "-m", "sglang.launch_server"]
    argv += ["--model-path", places.folder(deployment.model), "--served-model-name", deployment.served_name or name]
    argv += ["--host", where.host, "--port", str(where.port)]
    argv += ["--context-length", str(deployment.context_tokens), "--max-running-requests", str(deployment.slots)]
    argv += ["--tp-size", str(deployment.parallel.tensor), "--pp-size", str(deployment.parallel.pipeline)]
    argv += ["--kv-cache-dtype", "fp8_e4m3" if deployment.kv_cache.dtype == "fp8" else "auto"]
    if deployment.kv_cache.fraction is not None:
        argv += ["--mem-fraction-static", str(deployment.kv_cache.fraction)]
    if not keeps_prefixes(deployment.engine, deployment):
        argv.append("--disable-radix-cache")
    argv += _steps(deployment)
    if deployment.quantization in _QUANTIZATION:
        argv += ["--quantization", _QUANTIZATION[deployment.quantization]]
    if deployment.quantization in _DTYPES:
        argv += ["--dtype", _DTYPES[deployment.quantization]]
    if deployment.accepts:
        limits = {kind: MEDIA_PER_PROMPT if kind in deployment.accepts else 0 for kind in ("image", "audio")}
        argv += ["--enable-multimodal", "--limit-mm-data-per-request", json.dumps(limits)]
    if deployment.adapters:
        argv += ["--enable-lora", "--max-loras-per-batch", str(len(deployment.adapters) + 1)]  # and none at all
        argv += ["--max-lora-rank", str(max(checkpoint.ranks(name, deployment, places).values()))]
        argv.append("--lora-paths")
        argv += [f"{adapter}={places.folder(wanted.model)}" for adapter, wanted in deployment.adapters.items()]
    if deployment.speculation.method != "none" and not plain:
        argv += _speculation(deployment, places)
    if deployment.tool_parser in _PARSERS:
        argv += ["--tool-call-parser", _PARSERS[deployment.tool_parser]]
    argv += ["--enable-metrics", "--enable-cache-report"]
    notes: tuple[str, ...] = ()
    if deployment.credentials is not None:  # SGLang has no variable for it
        argv += ["--api-key", Secret.of(deployment.credentials)]
        notes = ("The key shows in the list of processes: give the server a machine or a container of its own.",)
    return Command(f"{name}-plain" if plain else name, tuple(argv), {"HF_HUB_OFFLINE": "1"}, notes)


def _steps(deployment: ServerDeployment) -> list[str]:
    """How many tokens a step reads, and whether prompts are cut into steps."""
    argv = [] if deployment.batch_tokens is None else ["--max-prefill-tokens", str(deployment.batch_tokens)]
    if deployment.chunked_prefill is False:
        return [*argv, "--chunked-prefill-size", "-1"]
    if deployment.batch_tokens is not None or deployment.chunked_prefill:
        return [*argv, "--chunked-prefill-size", str(deployment.batch_tokens or CHUNK_TOKENS)]
    return argv


def _speculation(deployment: ServerDeployment, places: Places) -> list[str]:
    speculation = deployment.speculation
    tokens = speculation.max_draft_tokens
    argv = ["--speculative-algorithm", _ALGORITHM[speculation.method]]
    if speculation.draft is not None:
        argv += ["--speculative-draft-model-path", places.folder(speculation.draft)]
    # one draft a step: a chain of `tokens`, which the model checks with its own next token
    argv += ["--speculative-num-steps", str(tokens), "--speculative-eagle-topk", "1"]
    argv += ["--speculative-num-draft-tokens", str(tokens + 1)]
    chain = speculation.method in ("eagle3", "mtp") and tokens in ADAPTIVE_STEPS and not deployment.adapters
    if chain and engine_decides(deployment):
        argv.append("--speculative-adaptive")
    return argv
