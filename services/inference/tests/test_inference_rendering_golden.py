"""One deployment with everything, an engine at a time, compared with files that were read through.

UPDATE_GOLDEN=1 writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from headrace_inference.rendering import artefacts, check
from headrace_kit.config import parse

GOLDEN = Path(__file__).parent / "golden"
WHOLE = """\
    model: chat
    context_tokens: 16384
    slots: 64
    batch_tokens: 4096
    max_in_flight: 256
    max_output_tokens: 2048
    price: {input_usd_per_million: 0.2}
    warmup: {prompt: Hello, system_prompt: You are helpful.}
"""
ADAPTERS = "adapters: {legal: {model: legal-lora, rank: 24}, support: {model: support-lora, rank: 8}}"
GPU = WHOLE + "    parallel: {tensor: 2%s}\n    kv_cache: {fraction: 0.85, dtype: fp8}\n    " + ADAPTERS + "\n"
ENGINES = {
    "triton-llamacpp": """\
    model: words
    context_tokens: 8192
    slots: 6
    threads: 2
    batch_tokens: 128
    quantization: q4_k_m
    prefix_cache_mib: 256
    max_in_flight: 32
    max_output_tokens: 512
    kv_cache: {dtype: q8_0}
    speculation: {method: draft_model, draft: small-words, max_draft_tokens: 5}
    adapters: {legal: {model: words-lora, scale: 0.8}}
    tool_parser: hermes
    warmup: {prompt: Hello, system_prompt: You are helpful.}
""",
    "llamacpp": """\
    model: words
    slots: 2
    kv_cache: {prefix_caching: false}
    speculation: {method: ngram, ngram_tokens: 4, max_draft_tokens: 3}
""",
    "triton-tensorrtllm": GPU % ", pipeline: 2"
    + """\
    quantization: fp8
    chunked_prefill: true
    speculation: {method: eagle3, draft: head, max_draft_tokens: 4}
    plain_instance: true
""",
    "triton-vllm": GPU % ", pipeline: 2"
    + """\
    quantization: int4_awq
    chunked_prefill: true
    accepts: [image]
    speculation: {method: ngram, max_draft_tokens: 4}
    plain_instance: true
""",
    "vllm": GPU % ", pipeline: 2"
    + """\
    quantization: nvfp4
    chunked_prefill: true
    accepts: [image, audio]
    speculation: {method: eagle3, draft: head, max_draft_tokens: 4}
    address: http://vllm.models.svc:8000
    plain_address: http://vllm-plain.models.svc:8001
    served_name: chat-v2
    credentials: {secret: vllm-key}
    tool_parser: hermes
""",
    "nim": GPU % ", pipeline: 2"
    + """\
    quantization: bf16
    speculation: {method: mtp, max_draft_tokens: 2}
    address: http://nim.models.svc:8000
    credentials: {secret: nim-key}
    tool_parser: json
""",
    "sglang": GPU % ", pipeline: 2"
    + """\
    quantization: fp8
    chunked_prefill: true
    accepts: [image]
    speculation: {method: eagle3, draft: head, max_draft_tokens: 3}
    address: http://sglang.models.svc:30000
    plain_address: http://sglang-plain.models.svc:30001
    credentials: {secret: sglang.key}
""",
    "tgi": GPU % ""
    + """\
    quantization: int4_awq
    accepts: [image]
    speculation: {method: ngram, max_draft_tokens: 2}
    address: http://127.0.0.1:8080
    credentials: {secret: tgi-key}
""",
    "triton-python": """\
    task: embed
    model: texts
    dimensions: 384
    max_input_tokens: 512
    threads: 2
""",
    "triton-scripted": """\
    context_tokens: 2048
    max_output_tokens: 128
    max_in_flight: 16
""",
}


def config_text(engine: str, body: str) -> str:
    catalogue = "catalogue:\n"
    for entry, kind, names in (
        ("chat", "safetensors", ("model.safetensors", "config.json")),
        ("head", "safetensors", ("model.safetensors",)),
        ("legal-lora", "safetensors", ("adapter_model.safetensors", "adapter_config.json")),
        ("support-lora", "safetensors", ("adapter_model.safetensors", "adapter_config.json")),
        ("words", "gguf", ("model.gguf",)),
        ("small-words", "gguf", ("model.gguf",)),
        ("words-lora", "gguf", ("adapter.gguf",)),
        ("texts", "onnx", ("model.onnx", "tokenizer.json")),
    ):
        files = ", ".join(f'{{name: {name}, size: 1, sha256: "{"0" * 64}", sources: [{{path: x}}]}}' for name in names)
        catalogue += f"  {entry}: {{format: {kind}, licence: MIT, files: [{files}]}}\n"
    return f"{catalogue}deployments:\n  whole:\n    engine: {engine}\n{body}"


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_deployment_with_everything_renders_to_what_was_read_through(engine):
    rendered = artefacts(parse(config_text(engine, ENGINES[engine])), "whole", {}, models_dir="/models")
    assert check(rendered) == []
    files = {path: text for path, text in rendered.files().items() if "/triton_models/" not in path}
    folder = GOLDEN / engine
    if os.environ.get("UPDATE_GOLDEN"):
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == set(files)
    for path, text in files.items():
        assert text == (folder / path).read_text(encoding="utf-8"), path
        if path.endswith("config.pbtxt"):
            assert text_format.Parse(text, pb.ModelConfig()).name == path.split("/")[0]


def test_the_plain_instance_differs_by_speculation_alone():
    rendered = artefacts(parse(config_text("triton-vllm", ENGINES["triton-vllm"])), "whole", {}, models_dir="/models")
    whole, plain = rendered.models
    assert (whole.name, plain.name) == ("whole", "whole-plain")
    left, right = (json.loads(model.files["model.json"]) for model in (whole, plain))
    assert "speculative_config" not in right
    assert {key for key in left if left.get(key) != right.get(key)} == {"speculative_config", "served_model_name"}


def test_no_tenant_can_time_or_read_another_through_a_cache_or_an_ngram_pool():
    def files(engine: str, body: str) -> str:
        text = config_text(engine, WHOLE.replace("batch_tokens: 4096", "batch_tokens: 16384") + body)
        return "\n".join(artefacts(parse(text), "whole", {}, models_dir="/models").files().values())

    assert "enable_block_reuse: false" in files("triton-tensorrtllm", "    speculation: {method: ngram}\n")
    assert "is_public_pool: false" in files("triton-tensorrtllm", "    speculation: {method: ngram}\n")
    assert '"enable_prefix_caching": false' in files("triton-vllm", "")
    assert "export PREFIX_CACHING=0" in files("tgi", "    address: http://x\n")
    # these take a salt with each request, see the adapter
    assert "--enable-prefix-caching" in files("vllm", "    address: http://x\n")
    assert "--disable-radix-cache" not in files("sglang", "    address: http://x\n")
