"""What a Hugging Face checkpoint says of itself: `config.json`, `hf_quant_config.json` and `adapter_config.json`.

Only what is on this machine can be looked into; what is not stays unchecked until the engine loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import LanguageDeployment
from headrace_kit.errors import BadInput

_KINDS = {
    "fp8": "fp8", "awq": "int4_awq", "w4a16_awq": "int4_awq", "nvfp4": "nvfp4", "modelopt_fp4": "nvfp4",
    "compressed-tensors": "", "modelopt": "", "gptq": "gptq", "bitsandbytes": "bitsandbytes", "mxfp4": "mxfp4",
}  # fmt: skip
"""Names in checkpoints -> ours; empty: the name alone does not say which."""


def check_quantization(name: str, deployment: LanguageDeployment, places: Places) -> None:
    """Compare `quantization` with what the checkpoint says.

    Raises:
        BadInput: they differ.
    """
    wanted, found = deployment.quantization, quantization(places, deployment.model)
    if wanted in ("fp8", "int4_awq", "nvfp4") and found and found != wanted:
        raise BadInput(
            f"deployments.{name}.quantization is {wanted}, but the files of {deployment.model!r} are {found}: "
            "say so, or take other files",
            param=f"deployments.{name}.quantization",
        )


def quantization(places: Places, entry: str) -> str:
    """How a checkpoint's weights are stored, in the config's words; empty where it does not say."""
    modelopt = document(places, entry, "hf_quant_config.json").get("quantization") or {}
    stated = modelopt.get("quant_algo")
    if not stated:
        stated = (document(places, entry, "config.json").get("quantization_config") or {}).get("quant_method")
    return _KINDS.get(str(stated).lower(), str(stated).lower()) if stated else ""


def cache_elements(config: Mapping[str, Any]) -> int | None:
    """Numbers that the key-value cache holds for a token, over all layers; None where `config.json` does not say."""
    text = config.get("text_config") or config
    layers, heads = text.get("num_hidden_layers"), text.get("num_attention_heads")
    if not layers or not heads:
        return None
    if text.get("kv_lora_rank"):  # latent attention keeps one compressed vector
        return int(layers * (text["kv_lora_rank"] + (text.get("qk_rope_head_dim") or 0)))
    size = text.get("head_dim") or text.get("hidden_size", 0) // heads
    return int(layers * (text.get("num_key_value_heads") or heads) * size * 2) or None


def ranks(name: str, deployment: LanguageDeployment, places: Places) -> dict[str, int]:
    """Rank of each adapter.

    Raises:
        BadInput: neither the config nor the adapter's own file says it.
    """
    found: dict[str, int] = {}
    for adapter, wanted in deployment.adapters.items():
        rank = wanted.rank or document(places, wanted.model, "adapter_config.json").get("r")
        if not isinstance(rank, int):
            raise BadInput(
                f"deployments.{name}.adapters.{adapter}.rank is needed: adapter_config.json of {wanted.model!r} "
                "is not on this machine to read it from",
                param=f"deployments.{name}.adapters.{adapter}.rank",
            )
        found[adapter] = rank
    return found


def document(places: Places, entry: str, name: str) -> dict[str, Any]:
    """A JSON object of an entry, or an empty one where it is not on this machine.

    Raises:
        BadInput: it is there, and is no JSON object.
    """
    path = places.local(entry, name)
    if path is None:
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadInput(f"{name} of catalogue entry {entry!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{name} of catalogue entry {entry!r} is not a JSON object")
    return value
