"""Text Generation Inference: the command line of its launcher.

Sources: huggingface/text-generation-inference launcher/src/main.rs (3.x) and docs/source/reference/launcher.md; issue
2676 (both variables are needed to turn prefix caching off in older releases). TGI is in maintenance since 2025.
"""

from __future__ import annotations

from headrace_inference.rendering import checkpoint
from headrace_inference.rendering.commands import Command, Secret, listen
from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import ServerDeployment
from headrace_kit.config.deployments.capabilities import keeps_prefixes

_QUANTIZATION = {"fp8": "fp8", "int4_awq": "awq"}
_DTYPES = {"f16": "float16", "bf16": "bfloat16"}


def tgi_command(name: str, deployment: ServerDeployment, places: Places, *, plain: bool = False) -> Command:
    """`text-generation-launcher`.

    Raises:
        BadInput: the checkpoint is not what the config says.
        NotReady: files are not on this machine.
    """
    checkpoint.check_quantization(name, deployment, places)
    where = listen(deployment, plain=plain)
    argv: list[str | Secret] = ["text-generation-launcher", "--model-id", places.folder(deployment.model)]
    argv += ["--hostname", where.host, "--port", str(where.port)]
    argv += ["--max-total-tokens", str(deployment.context_tokens)]
    argv += ["--max-input-tokens", str(deployment.context_tokens - 1)]
    argv += ["--max-batch-size", str(deployment.slots), "--max-concurrent-requests", str(deployment.max_in_flight)]
    argv += ["--num-shard", str(deployment.parallel.tensor)]
    if deployment.batch_tokens is not None:
        argv += ["--max-batch-prefill-tokens", str(deployment.batch_tokens)]
    if deployment.kv_cache.fraction is not None:
        argv += ["--cuda-memory-fraction", str(deployment.kv_cache.fraction)]
    if deployment.kv_cache.dtype == "fp8":
        argv += ["--kv-cache-dtype", "fp8_e4m3fn"]
    if deployment.quantization in _QUANTIZATION:
        argv += ["--quantize", _QUANTIZATION[deployment.quantization]]
    if deployment.quantization in _DTYPES:
        argv += ["--dtype", _DTYPES[deployment.quantization]]
    if deployment.adapters:
        paths = [f"{adapter}={places.folder(wanted.model)}" for adapter, wanted in deployment.adapters.items()]
        argv += ["--lora-adapters", ",".join(paths)]
    if deployment.speculation.method == "ngram" and not plain:
        argv += ["--speculate", str(deployment.speculation.max_draft_tokens)]
    argv += ["--usage-stats", "off"]
    keeps = "1" if keeps_prefixes(deployment.engine, deployment) else "0"
    env: dict[str, str | Secret] = {"HF_HUB_OFFLINE": "1", "PREFIX_CACHING": keeps, "USE_PREFIX_CACHING": keeps}
    if deployment.credentials is not None:
        env["API_KEY"] = Secret.of(deployment.credentials)
    return Command(f"{name}-plain" if plain else name, tuple(argv), env)
