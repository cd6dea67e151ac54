"""Every option of every engine is rendered, refused, or read by the service: none is parsed and ignored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import headrace_inference
from headrace_inference.rendering import artefacts, check
from headrace_kit.config import Config, ConfigInvalid, parse
from headrace_kit.config.deployments import LlamaCppDeployment, ServerDeployment, TritonGpuDeployment

KINDS = {
    "triton-llamacpp": LlamaCppDeployment,
    "llamacpp": LlamaCppDeployment,
    "triton-tensorrtllm": TritonGpuDeployment,
    "triton-vllm": TritonGpuDeployment,
    "vllm": ServerDeployment,
    "sglang": ServerDeployment,
    "nim": ServerDeployment,
    "tgi": ServerDeployment,
}
ENGINES = sorted(KINDS)
LORA = {"legal": {"model": "lora", "rank": 8}}
DRAFTS = {"method": "draft_model", "draft": "other"}
NGRAM = {"method": "ngram"}
VALUES: dict[str, list[tuple[dict[str, Any], Any]]] = {
    # option -> [(what else the deployment says, another value than the default)]
    "model": [({}, "other")],
    "context_tokens": [({}, 2048)],
    "slots": [({}, 9)],
    "batch_tokens": [({}, 6000)],
    "quantization": [({}, "fp8"), ({}, "q4_k_m"), ({}, "bf16")],
    "parallel.tensor": [({}, 2)],
    "parallel.pipeline": [({}, 2)],
    "kv_cache.fraction": [({}, 0.5)],
    "kv_cache.dtype": [({}, "fp8"), ({}, "q8_0")],
    "kv_cache.prefix_caching": [({}, False), ({}, True)],
    "chunked_prefill": [({}, True), ({}, False)],
    "adapters": [({}, LORA)],
    "adapters.legal.model": [({"adapters": LORA}, "other")],
    "adapters.legal.scale": [({"adapters": LORA}, 0.5)],
    "adapters.legal.rank": [({"adapters": LORA}, 64)],
    "speculation.method": [({}, "ngram"), ({}, "mtp")],
    "speculation.max_draft_tokens": [({"speculation": kind}, 3) for kind in (NGRAM, DRAFTS)],
    "speculation.draft": [({"speculation": DRAFTS}, "third")],
    "speculation.ngram_tokens": [({"speculation": NGRAM}, 3)],
    "speculation.adaptive": [({"slots": 64, "speculation": NGRAM}, False)],
    "accepts": [({}, ["image"]), ({}, ["audio"])],
    "tool_parser": [({}, "hermes"), ({}, "json"), ({}, "none")],
    "warmup.prompt": [({}, "Hi")],
    "warmup.system_prompt": [({}, "Be brief.")],
    "max_output_tokens": [({}, 77)],
    "max_in_flight": [({}, 99)],
    "wakes_within": [({}, "60s")],
    "threads": [({}, 3)],
    "prefix_cache_mib": [({}, 9)],
    "plain_instance": [({"speculation": NGRAM}, True), ({"speculation": DRAFTS}, True)],
    "address": [({}, "http://server:1234")],
    "plain_address": [({"speculation": kind}, "http://plain:1") for kind in (NGRAM, DRAFTS)],
    "served_name": [({}, "other-name")],
    "credentials.secret": [({}, "key")],
    "tenant_salt.secret": [({}, "salt")],
    "timeout": [({}, 7)],
    "triton_address": [({}, "gpu:7871")],
    "triton_metrics_address": [({}, "gpu:7872")],
}
SERVICE = (
    "max_output_tokens", "max_in_flight", "warmup.prompt", "warmup.system_prompt", "tool_parser", "accepts",
    "speculation.adaptive", "tenant_salt.secret", "timeout", "speculation.max_draft_tokens", "adapters.legal.rank",
    "speculation.ngram_tokens", "served_name", "triton_address", "triton_metrics_address", "wakes_within",
)  # fmt: skip
"""Options that the service itself acts on, where the engine is not told."""

GATEWAYS = ("residency", "tags", "internal")
"""Options that the gateway alone acts on: whose requests a deployment may get."""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if kind is not None]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if name == "adapters":
            yield from leaves(inner[0], "adapters.legal.")
            yield "adapters"
        elif inner:
            yield from leaves(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + name


def build(engine: str, deployment: dict[str, Any]) -> Config:
    ending = {"triton-llamacpp": "gguf", "llamacpp": "gguf"}.get(engine, "safetensors")
    file = {"name": f"model.{ending}", "size": 1, "sha256": "0" * 64, "sources": [{"path": "x"}]}
    entry = {"format": ending, "licence": "MIT", "files": [file]}
    catalogue = dict.fromkeys(("model", "other", "third", "lora"), entry)
    whole = {"engine": engine, "model": "model"} | deployment
    if KINDS[engine] is ServerDeployment:
        whole.setdefault("address", "http://server:8000")
    return parse(json.dumps({"catalogue": catalogue, "deployments": {"it": whole}}))


def rendered(engine: str, deployment: dict[str, Any]) -> dict[str, str]:
    return artefacts(build(engine, deployment), "it", {}, models_dir="/models").files()


def put(deployment: dict[str, Any], option: str, value: Any) -> dict[str, Any]:
    first, _, rest = option.partition(".")
    return deployment | {first: put(dict(deployment.get(first) or {}), rest, value) if rest else value}


def refused(engine: str, deployment: dict[str, Any]) -> str:
    try:
        build(engine, deployment)
    except ConfigInvalid as error:
        return str(error)
    return ""


def test_the_table_below_names_every_option():
    for kind in set(KINDS.values()):
        options = {option for option in leaves(kind) if not option.startswith("price.")} - {"engine", *GATEWAYS}
        assert options - set(VALUES) == set(), kind
    everything = set().union(*(leaves(kind) for kind in KINDS.values()))
    assert set(VALUES) - everything == set()


@pytest.mark.parametrize(
    ("engine", "option"),
    [(engine, option) for engine in ENGINES for option in sorted(set(leaves(KINDS[engine])) & set(VALUES))],
)
def test_an_option_is_rendered_or_refused_or_the_services_own(engine, option):
    effects = set()
    for others, value in VALUES[option]:
        changed = put(others, option, value)
        if refused(engine, others):
            effects.add("refused")
        elif message := refused(engine, changed):
            assert f"deployments.it.{option.split('.')[0]}" in message
            effects.add("refused")
        elif rendered(engine, others) != rendered(engine, changed):
            effects.add("rendered")
    assert effects or option in SERVICE, f"{engine} ignores {option}"


@pytest.mark.parametrize("option", SERVICE)
def test_what_is_the_services_own_is_read_by_its_code(option):
    attribute = option.removesuffix(".secret").rpartition(".")[2]
    package = Path(headrace_inference.__file__).parent
    assert any(
        re.search(rf"\.{attribute}\b|\[\"{attribute}\"\]", path.read_text("utf-8")) for path in package.rglob("*.py")
    )


def test_a_refusal_names_option_engine_reason_and_who_can():
    message = refused("sglang", {"speculation": NGRAM})
    assert "deployments.it.speculation.method: engine sglang cannot do that" in message
    assert "one tenant's text would be proposed to another" in message
    assert message.endswith("; triton-llamacpp, llamacpp, triton-tensorrtllm, triton-vllm, vllm, nim, tgi can")
    # two rows refuse it, for two kinds of engines: neither is recommended
    assert refused("tgi", {"quantization": "nvfp4"}).endswith(
        "it has fp8 and int4_awq; triton-tensorrtllm, triton-vllm, vllm, sglang, nim can"
    )


def options_for(engine: str) -> st.SearchStrategy[dict[str, Any]]:
    own = {option: cases for option, cases in VALUES.items() if option in set(leaves(KINDS[engine]))}
    return st.dictionaries(st.sampled_from(sorted(own)), st.integers(0, 3), max_size=6).map(
        lambda chosen: _merge(own, chosen)
    )


def _merge(own: dict[str, list[tuple[dict[str, Any], Any]]], chosen: dict[str, int]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for option, number in sorted(chosen.items()):
        others, value = own[option][number % len(own[option])]
        for key, other in others.items():
            whole.setdefault(key, other)
        whole = put(whole, option, value)
    return whole


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_config_accepts_renders_to_what_the_engines_schema_takes(data):
    engine = data.draw(st.sampled_from(ENGINES))
    deployment = data.draw(options_for(engine))
    if refused(engine, deployment):
        return
    assert check(artefacts(build(engine, deployment), "it", {}, models_dir="/models")) == []
