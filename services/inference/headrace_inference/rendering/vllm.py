"""vLLM: engine arguments for its backend in Triton, and the command lines of `vllm serve` and of NIM.

Sources: vLLM 0.32.0 engine/arg_utils.py (EngineArgs), entrypoints/launchers/cli_args.py, config/speculative.py
(SpeculativeConfig), config/cache.py, config/lora.py, v1/spec_decode/dynamic/utils.py, model_executor/layers/
quantization; triton-inference-server/vllm_backend src/model.py and README (main of August 2026); NVIDIA NIM for LLMs
2.0 "Advanced configuration" and "Environment variables": arguments after `nim-serve` are vLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from headrace_inference.rendering import checkpoint
from headrace_inference.rendering.commands import Command, Secret, listen
from headrace_inference.rendering.model import Rendered, newest_only
from headrace_inference.rendering.places import Places
from headrace_inference.rendering.schedule import engine_decides, ranges
from headrace_kit.config.deployments import LanguageDeployment, ServerDeployment, TritonGpuDeployment
from headrace_kit.config.deployments.capabilities import keeps_prefixes
from headrace_kit.config.deployments.language import NGRAM_TOKENS

MEDIA_PER_PROMPT = 16
"""Most images, and most audio clips, in one prompt."""

_QUANTIZATION = {"fp8": "fp8", "int4_awq": "awq", "nvfp4": "modelopt_fp4"}
_DTYPES = {"f16": "float16", "bf16": "bfloat16"}
GpuDeployment = TritonGpuDeployment | ServerDeployment
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `max_lora_rank` may be."""

_PARSERS = {"hermes": "hermes", "json": "llama3_json"}
_PARSER_OF = {
    "qwen2": "hermes", "qwen3": "hermes", "qwen3_moe": "hermes", "llama": "llama3_json", "llama4": "llama4_pythonic",
    "mistral": "mistral", "mixtral": "mistral", "gpt_oss": "openai", "phi3": "phi4_mini_json", "granite": "granite",
    "deepseek_v3": "deepseek_v3", "kimi_k2": "kimi_k2", "olmo3": "olmo3", "glm4_moe": "glm47",
}  # fmt: skip
"""`model_type` in config.json -> the parser of such models' tool calls."""


def arguments(name: str, deployment: GpuDeployment, places: Places, *, plain: bool = False) -> dict[str, Any]:
    """Engine arguments by their Python names.

    Raises:
        BadInput: the checkpoint is not what the config says, or an adapter's rank is nowhere.
        NotReady: files are not on this machine.
    """
    checkpoint.check_quantization(name, deployment, places)
    chosen: dict[str, Any] = {
        "model": places.folder(deployment.model),
        "max_model_len": deployment.context_tokens,
        "max_num_seqs": deployment.slots,
        "tensor_parallel_size": deployment.parallel.tensor,
        "pipeline_parallel_size": deployment.parallel.pipeline,
        "kv_cache_dtype": deployment.kv_cache.dtype,
        "enable_prefix_caching": keeps_prefixes(deployment.engine, deployment),
        "max_num_batched_tokens": deployment.batch_tokens,
        "enable_chunked_prefill": deployment.chunked_prefill,
        "gpu_memory_utilization": deployment.kv_cache.fraction,
        "quantization": _QUANTIZATION.get(deployment.quantization or ""),
        "dtype": _DTYPES.get(deployment.quantization or ""),
    }
    if deployment.accepts:
        chosen["limit_mm_per_prompt"] = {
            kind: MEDIA_PER_PROMPT if kind in deployment.accepts else 0 for kind in ("image", "audio")
        }
    if deployment.adapters:
        rank = max(checkpoint.ranks(name, deployment, places).values())
        chosen |= {
            "enable_lora": True,
            "max_loras": len(deployment.adapters),
            "max_cpu_loras": len(deployment.adapters),
            "max_lora_rank": next(allowed for allowed in _RANKS if allowed >= rank),
        }
    if deployment.speculation.method != "none" and not plain:
        chosen["speculative_config"] = _speculation(deployment, places)
    return {key: value for key, value in chosen.items() if value is not None}


def _speculation(deployment: LanguageDeployment, places: Places) -> dict[str, Any]:
    speculation = deployment.speculation
    config: dict[str, Any] = {
        "method": speculation.method,
        "num_speculative_tokens": speculation.max_draft_tokens,
    }
    if speculation.draft is not None:
        config["model"] = places.folder(speculation.draft)
    if speculation.method == "ngram":  # looks in the request's own text only
        tokens = speculation.ngram_tokens or NGRAM_TOKENS
        config |= {"prompt_lookup_min": tokens, "prompt_lookup_max": tokens}
    if engine_decides(deployment):
        steps = ranges(speculation.max_draft_tokens, deployment.slots)
        if len(steps) > 1:
            config["num_speculative_tokens_per_batch_size"] = [list(step) for step in steps]
    return config


def triton_vllm_model(name: str, deployment: TritonGpuDeployment, places: Places, *, plain: bool = False) -> Rendered:
    """One instance of a deployment in Triton's vLLM backend; for errors see `arguments`."""
    config = pb.ModelConfig(
        name=f"{name}-plain" if plain else name,
        backend="vllm",
        max_batch_size=0,
        version_policy=newest_only(),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        # the engine takes the GPUs that it needs; KIND_GPU would be one GPU an instance
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_MODEL, count=1)],
    )
    config.parameters["REPORT_CUSTOM_METRICS"].string_value = "true"
    config.parameters["ENABLE_VLLM_HEALTH_CHECK"].string_value = "true"
    engine = {
        "served_model_name": config.name,
        **arguments(name, deployment, places, plain=plain),
        "disable_log_stats": False,
    }
    files = {"model.json": json.dumps(engine, indent=1) + "\n"}
    if deployment.adapters:
        paths = {adapter: places.folder(wanted.model) for adapter, wanted in deployment.adapters.items()}
        files["multi_lora.json"] = json.dumps(paths, indent=1) + "\n"
    return Rendered(config.name, config, files)


def vllm_command(name: str, deployment: ServerDeployment, places: Places, *, plain: bool = False) -> Command:
    """`vllm serve`; for errors see `arguments`."""
    engine = arguments(name, deployment, places, plain=plain)
    argv = ("vllm", "serve", engine.pop("model"), *_serving(name, deployment, places, engine, plain=plain))
    env: dict[str, str | Secret] = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if deployment.credentials is not None:
        env["VLLM_API_KEY"] = Secret.of(deployment.credentials)
    return Command(f"{name}-plain" if plain else name, argv, env, _notes(deployment, places))


def nim_command(name: str, deployment: ServerDeployment, places: Places, *, plain: bool = False) -> Command:
    """`nim-serve` in a NIM container with vLLM; for errors see `arguments`."""
    engine = arguments(name, deployment, places, plain=plain)
    env: dict[str, str | Secret] = {
        "NIM_MODEL_PATH": engine.pop("model"),
        "NIM_SERVER_PORT": str(listen(deployment, plain=plain).port),
    }
    if deployment.credentials is not None:
        env["VLLM_API_KEY"] = Secret.of(deployment.credentials)
    argv = ("nim-serve", *_serving(name, deployment, places, engine, plain=plain))
    return Command(f"{name}-plain" if plain else name, argv, env, _notes(deployment, places))


def _serving(
    name: str, deployment: ServerDeployment, places: Places, engine: Mapping[str, Any], *, plain: bool
) -> tuple[str, ...]:
    """Arguments of the server around the engine, and the engine's."""
    where = listen(deployment, plain=plain)
    argv = ["--served-model-name", deployment.served_name or name]
    if deployment.engine == "vllm":  # NIM has a variable for its port
        argv += ["--host", where.host, "--port", str(where.port)]
    for key, value in engine.items():
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            argv.append(flag if value else "--no-" + flag[2:])
        else:
            argv += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    if deployment.adapters:
        argv.append("--lora-modules")
        argv += [f"{adapter}={places.folder(wanted.model)}" for adapter, wanted in deployment.adapters.items()]
    parser = tool_parser(deployment, places)
    if parser:
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    return (*argv, "--enable-prompt-tokens-details")


def tool_parser(deployment: LanguageDeployment, places: Places) -> str:
    """vLLM's parser of tool calls; empty: tools are off."""
    if deployment.tool_parser == "auto":
        kind = checkpoint.document(places, deployment.model, "config.json").get("model_type")
        return _PARSER_OF.get(str(kind), "")
    return _PARSERS.get(deployment.tool_parser, "")


def _notes(deployment: ServerDeployment, places: Places) -> tuple[str, ...]:
    if deployment.tool_parser == "auto" and not tool_parser(deployment, places):
        return (
            "Tools are off: what the model's tool calls look like is not known here. Set tool_parser to turn them on.",
        )
    return ()
