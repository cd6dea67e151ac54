"""How much memory deployments take on the machine's CPUs, and whether they fit together.

An estimate from below: weights as the catalogue says, key-value caches by the models' own shapes where their files are
here to look into, and what an engine takes besides. Weights are mapped from files, which llama.cpp shares between
deployments of one entry, so an entry's weights count once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace_inference.rendering import checkpoint, gguf
from headrace_inference.rendering.machine import GIB, Machine, require_gpus
from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import (
    BaseDeployment,
    LlamaCppDeployment,
    OnnxDeployment,
    TritonGpuDeployment,
)
from headrace_kit.config.document import Config
from headrace_kit.errors import BadInput

MIB = 1 << 20
ENGINE_BYTES = 96 * MIB
"""Of a model's process and the engine's own buffers."""

_BITS = {"auto": 16.0, "q8_0": 8.5, "q4_0": 4.5, "fp8": 8.0}
"""Of one number in the cache; the `q` kinds carry a 16 bit scale for each 32 numbers."""

_WEIGHT_BITS = {"q4_0": 4.5, "q4_1": 5.0, "q4_k_m": 4.9, "q5_0": 5.5, "q5_1": 6.0, "q5_k_m": 5.7, "q6_k": 6.6,
                "f16": 16.0, "bf16": 16.0}  # fmt: skip
"""Of one weight, by the kind of a GGUF file."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one deployment takes, in bytes.

    Attributes:
        name: the deployment.
        weights: of the model, its draft and its adapters, by catalogue entry.
        cache: key-value caches, and prefixes that are kept.
        engine: what comes on top.
        whole: False where a file is missing that would tell the cache's size.
    """

    name: str
    weights: dict[str, int]
    cache: int
    engine: int
    whole: bool = True

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.weights.values()) + self.cache + self.engine


def estimate(name: str, deployment: BaseDeployment, places: Places) -> Estimate | None:
    """What a deployment takes of this machine; None where its weights are elsewhere, or it has none."""
    if isinstance(deployment, OnnxDeployment):
        return Estimate(name, {deployment.model: places.size(deployment.model)}, 0, ENGINE_BYTES)
    if isinstance(deployment, TritonGpuDeployment):  # weights and caches are in the GPUs' memory
        return Estimate(name, {}, 0, ENGINE_BYTES * (2 if deployment.plain_instance else 1))
    if not isinstance(deployment, LlamaCppDeployment):
        return None
    draft = deployment.speculation.draft
    adapters = [adapter.model for adapter in deployment.adapters.values()]
    weights = {entry: places.size(entry) for entry in (deployment.model, *([draft] if draft else []), *adapters)}
    weights[deployment.model] = round(weights[deployment.model] * _growth(deployment, places))
    # llama.cpp that drafts has a second instance beside it that does not.
    instances = 1 if deployment.speculation.method == "none" else 2
    models = [deployment.model] * instances + ([draft] if draft else [])
    caches = [_llamacpp_cache(deployment, entry, places) for entry in models]
    return Estimate(
        name,
        weights,
        sum(cache or 0 for cache in caches) + deployment.prefix_cache_mib * MIB * instances,
        ENGINE_BYTES * instances,
        whole=None not in caches,
    )


def _growth(deployment: LlamaCppDeployment, places: Places) -> float:
    """How much larger weights get that are converted when they are loaded."""
    path = places.local(deployment.model, ".gguf")
    if deployment.quantization != "q8_0" or path is None:
        return 1.0
    try:
        kind = gguf.read(path).kind
    except BadInput:  # the engine will say so when it loads the file
        return 1.0
    return _BITS["q8_0"] / _WEIGHT_BITS.get(kind, _BITS["q8_0"])


def gpu_bytes_per_token(deployment: TritonGpuDeployment, places: Places) -> int | None:
    """What the cache holds for a token on a GPU engine; None where config.json is not here to tell."""
    elements = checkpoint.cache_elements(checkpoint.document(places, deployment.model, "config.json"))
    return None if elements is None else int(elements * _BITS[deployment.kv_cache.dtype] / 8)


def require_fit(config: Config, places: Places, machine: Machine) -> list[Estimate]:
    """Check that the deployments on this machine fit together, and that GPUs are there for those that need them.

    Args:
        config: the platform's config; `services.inference.memory_gib` is the limit, else the machine's memory.
        places: where files are.
        machine: this machine.

    Returns:
        What each deployment takes.

    Raises:
        BadInput: they do not fit, and the message has the sum and each deployment's share; or GPUs are missing, and it
            says what is there.
    """
    for name, deployment in config.deployments.items():
        require_gpus(name, deployment, machine)
    estimates = (estimate(name, deployment, places) for name, deployment in config.deployments.items())
    found = [made for made in estimates if made is not None]
    stated = config.services.inference.memory_gib
    limit = machine.memory_bytes if stated is None else int(stated * GIB)
    entries: dict[str, int] = {}
    for made in found:
        entries |= made.weights
    total = sum(entries.values()) + sum(made.cache + made.engine for made in found)
    if total > limit:
        least = "" if all(made.whole for made in found) else "at least "
        whose = "the machine's memory" if stated is None else "services.inference.memory_gib"
        raise BadInput(
            f"the deployments on this machine need {least}{_gib(total)}, more than {whose} of {_gib(limit)}: "
            f"{'; '.join(_shares(found))}. Remove some, or give them fewer slots, less context_tokens or a smaller "
            "kv_cache.dtype",
            param="deployments",
        )
    _require_gpu_fit(config, places, machine)
    return found


def _require_gpu_fit(config: Config, places: Places, machine: Machine) -> None:
    """GPU deployments of one Triton share its GPUs; their weights alone must fit."""
    gpus = {name: each for name, each in config.deployments.items() if isinstance(each, TritonGpuDeployment)}
    memory = sum(gpu.memory_bytes for gpu in machine.gpus)
    if not gpus or not memory:
        return
    shares = {name: _gpu_bytes(deployment, places) for name, deployment in gpus.items()}
    if sum(shares.values()) > memory:
        each = ", ".join(f"{name} {_gib(size)}" for name, size in shares.items())
        raise BadInput(
            f"weights of the deployments on this machine's GPUs need {_gib(sum(shares.values()))}, more than their "
            f"{_gib(memory)}: {each}",
            param="deployments",
        )


def _gpu_bytes(deployment: TritonGpuDeployment, places: Places) -> int:
    draft = deployment.speculation.draft
    weights = places.size(deployment.model) + sum(places.size(each.model) for each in deployment.adapters.values())
    plain = weights if deployment.plain_instance else 0
    return weights + plain + (places.size(draft) if draft else 0)


def _llamacpp_cache(deployment: LlamaCppDeployment, entry: str, places: Places) -> int | None:
    path = places.local(entry, ".gguf")
    if path is None:
        return None
    try:
        elements = gguf.read(path).cache_elements()
    except BadInput:  # the engine will say so when it loads the file
        return None
    if elements is None:
        return None
    tokens = deployment.slots * deployment.context_tokens
    return int(elements * tokens * _BITS[deployment.kv_cache.dtype] / 8)


def _shares(found: list[Estimate]) -> Iterator[str]:
    for made in sorted(found, key=lambda each: each.total, reverse=True):
        weights = sum(made.weights.values())
        yield f"{made.name} {_gib(made.total)} (weights {_gib(weights)}, caches {_gib(made.cache)})"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
