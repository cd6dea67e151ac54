"""TensorRT-LLM's LLM API inside Triton: the `llmapi` model.

<version>/model.yaml   arguments of `LLM()`, and under `triton_config` what NVIDIA's model reads
<version>/model.py     ours: it runs NVIDIA's model from the container, so that none of its code is copied

Sources, read at TensorRT-LLM's main of July 2026 and release 1.2: triton_backend/all_models/llmapi/tensorrt_llm/
{config.pbtxt, 1/model.py, 1/helpers.py, 1/model.yaml}, tensorrt_llm/llmapi/llm_args.py (TorchLlmArgs, KvCacheConfig,
*DecodingConfig), tensorrt_llm/_torch/peft/lora/config.py, and triton-inference-server/tutorials Speculative_Decoding.
`max_batch_size` and the decoupled policy must stay out of config.pbtxt: NVIDIA's model sets them from model.yaml.
What the PyTorch backend cannot be told is how weights are quantized: it reads the checkpoint, so we compare.
"""

from __future__ import annotations

import io
import json
from importlib import resources
from typing import Any

from ruamel.yaml import YAML
from tritonclient.grpc import model_config_pb2 as pb

from headrace_inference.rendering import checkpoint
from headrace_inference.rendering.model import Rendered, newest_only
from headrace_inference.rendering.places import Places
from headrace_inference.rendering.schedule import HALF_UNTIL, engine_decides
from headrace_kit.config.deployments import TritonGpuDeployment
from headrace_kit.config.deployments.capabilities import keeps_prefixes
from headrace_kit.config.deployments.language import NGRAM_TOKENS

CANCEL_CHECK_MS = 20
"""How often NVIDIA's model looks for cancelled requests; its own default of 100 leaves little of our 200."""

STEP_TOKENS = 8192
"""TensorRT-LLM's own default of `max_num_tokens`."""

_INPUTS = (
    ("text_input", pb.TYPE_STRING, -1),
    ("streaming", pb.TYPE_BOOL, 1),
    ("sampling_param_best_of", pb.TYPE_INT32, 1),
    ("sampling_param_temperature", pb.TYPE_FP32, 1),
    ("sampling_param_top_k", pb.TYPE_INT32, 1),
    ("sampling_param_top_p", pb.TYPE_FP32, 1),
    ("sampling_param_frequency_penalty", pb.TYPE_FP32, 1),
    ("sampling_param_presence_penalty", pb.TYPE_FP32, 1),
    ("sampling_param_max_tokens", pb.TYPE_INT32, 1),
    ("sampling_param_stop", pb.TYPE_STRING, -1),
    ("sampling_param_seed", pb.TYPE_UINT64, 1),
    ("sampling_param_exclude_input_from_output", pb.TYPE_BOOL, 1),
    ("sampling_param_return_perf_metrics", pb.TYPE_BOOL, 1),
    ("return_finish_reason", pb.TYPE_BOOL, 1),
    ("return_stop_reason", pb.TYPE_BOOL, 1),
    ("return_cumulative_logprob", pb.TYPE_BOOL, 1),
    ("stop", pb.TYPE_BOOL, 1),
    ("lora_id", pb.TYPE_UINT64, 1),
    ("lora_name", pb.TYPE_STRING, 1),
    ("lora_path", pb.TYPE_STRING, 1),
    ("lora_ckpt_source", pb.TYPE_STRING, 1),
)
_OUTPUTS = (
    ("text_output", pb.TYPE_STRING, -1),
    ("finish_reason", pb.TYPE_STRING, -1),
    ("stop_reason", pb.TYPE_STRING, -1),
    ("cumulative_logprob", pb.TYPE_FP32, -1),
    ("kv_cache_reused_block", pb.TYPE_INT32, -1),
    ("kv_cache_missed_block", pb.TYPE_INT32, -1),
    ("kv_cache_alloc_new_blocks", pb.TYPE_INT32, -1),
    ("kv_cache_alloc_total_blocks", pb.TYPE_INT32, -1),
    ("kv_cache_hit_rate", pb.TYPE_FP32, -1),
    ("arrival_time_ns", pb.TYPE_INT64, 1),
    ("first_scheduled_time_ns", pb.TYPE_INT64, 1),
    ("first_token_time_ns", pb.TYPE_INT64, 1),
    ("last_token_time_ns", pb.TYPE_INT64, 1),
    ("acceptance_rate", pb.TYPE_FP32, 1),
    ("total_accepted_draft_tokens", pb.TYPE_INT32, 1),
    ("total_draft_tokens", pb.TYPE_INT32, 1),
)
_MODULES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_dense",
    "gate_proj": "mlp_h_to_4h",
    "down_proj": "mlp_4h_to_h",
    "up_proj": "mlp_gate",
}
"""Hugging Face's names of layers that adapters change -> TensorRT-LLM's."""

_DECODING = {"ngram": "NGram", "draft_model": "Draft_Target", "eagle3": "Eagle3", "mtp": "MTP"}
_DTYPES = {"f16": "float16", "bf16": "bfloat16"}


def tensorrtllm_model(name: str, deployment: TritonGpuDeployment, places: Places, *, plain: bool = False) -> Rendered:
    """One instance of a deployment; `plain` leaves speculation out.

    Raises:
        BadInput: the checkpoint is not what the config says, or an adapter's rank is nowhere.
        NotReady: files are not on this machine.
    """
    checkpoint.check_quantization(name, deployment, places)
    arguments = _arguments(name, deployment, places, plain=plain)
    text = io.StringIO()
    YAML().dump(arguments, text)
    config = pb.ModelConfig(
        name=f"{name}-plain" if plain else name,
        backend="python",
        version_policy=newest_only(),
        input=[
            pb.ModelInput(name=field, data_type=kind, dims=[size], optional=field != "text_input")
            for field, kind, size in _INPUTS
        ],
        output=[pb.ModelOutput(name=field, data_type=kind, dims=[size]) for field, kind, size in _OUTPUTS],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )
    # read by inference over Triton's ModelConfig: a request names an adapter by number, name and path on that machine
    config.parameters["headrace"].string_value = json.dumps(
        {
            "adapters": {
                adapter: {"id": number, "path": places.folder(wanted.model)}
                for number, (adapter, wanted) in enumerate(deployment.adapters.items(), 1)
            },
            "quantization": deployment.quantization,
        }
    )
    code = resources.files("headrace_inference") / "triton_models" / "tensorrtllm" / "model.py"
    return Rendered(config.name, config, {"model.py": code.read_text(encoding="utf-8"), "model.yaml": text.getvalue()})


def _arguments(name: str, deployment: TritonGpuDeployment, places: Places, *, plain: bool) -> dict[str, Any]:
    chunked = bool(deployment.chunked_prefill)
    cache: dict[str, Any] = {
        "enable_block_reuse": keeps_prefixes(deployment.engine, deployment),
        "dtype": deployment.kv_cache.dtype,
    }
    if deployment.kv_cache.fraction is not None:
        cache["free_gpu_memory_fraction"] = deployment.kv_cache.fraction
    arguments: dict[str, Any] = {
        "model": places.folder(deployment.model),
        "backend": "pytorch",
        "dtype": _DTYPES.get(deployment.quantization or "", "auto"),
        "tensor_parallel_size": deployment.parallel.tensor,
        "pipeline_parallel_size": deployment.parallel.pipeline,
        "max_batch_size": deployment.slots,
        "max_seq_len": deployment.context_tokens,
        # a prompt that is read in one step must fit into the step
        "max_num_tokens": deployment.batch_tokens
        or (STEP_TOKENS if chunked else max(STEP_TOKENS, deployment.context_tokens)),
        "enable_chunked_prefill": chunked,
        "kv_cache_config": cache,
    }
    if deployment.adapters:
        arguments |= {"enable_lora": True, "lora_config": _lora(name, deployment, places)}
    if deployment.speculation.method != "none" and not plain:
        arguments |= _speculation(deployment, places)
    arguments["triton_config"] = {
        "max_batch_size": 0,
        "decoupled": True,
        "cancellation_check_period_ms": CANCEL_CHECK_MS,
    }
    return arguments


def _speculation(deployment: TritonGpuDeployment, places: Places) -> dict[str, Any]:
    speculation = deployment.speculation
    config: dict[str, Any] = {
        "decoding_type": _DECODING[speculation.method],
        "max_draft_len": speculation.max_draft_tokens,
    }
    if speculation.draft is not None:
        config["speculative_model"] = places.folder(speculation.draft)
    if speculation.method == "ngram":
        # a public pool proposes one request's text to another: it is on by default
        config |= {"max_matching_ngram_size": speculation.ngram_tokens or NGRAM_TOKENS, "is_public_pool": False}
    if engine_decides(deployment) and deployment.slots > HALF_UNTIL:
        config["max_concurrency"] = HALF_UNTIL
    arguments: dict[str, Any] = {"speculative_config": config, "return_perf_metrics": True}
    if speculation.method in ("ngram", "draft_model"):
        arguments["disable_overlap_scheduler"] = True  # their drafts are made between steps
    return arguments


def _lora(name: str, deployment: TritonGpuDeployment, places: Places) -> dict[str, Any]:
    wanted: set[str] = set()
    for adapter in deployment.adapters.values():
        modules = checkpoint.document(places, adapter.model, "adapter_config.json").get("target_modules")
        wanted |= set(modules) if isinstance(modules, list) else set(_MODULES)
    count = len(deployment.adapters)
    return {
        "lora_target_modules": [ours for theirs, ours in _MODULES.items() if theirs in wanted],
        "max_lora_rank": max(checkpoint.ranks(name, deployment, places).values()),
        "max_loras": count,
        "max_cpu_loras": count,
    }
