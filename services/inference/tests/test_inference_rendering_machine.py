"""What a machine has, what deployments take of it, and whether it fits."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from headrace_inference.rendering import Places, artefacts, gguf, render, require_fit, versions
from headrace_inference.rendering.machine import GIB, Gpu, Machine, here, require_gpus
from headrace_inference.rendering.memory import MIB, estimate
from headrace_kit.config import ConfigInvalid, parse
from headrace_kit.config.deployments import TritonGpuDeployment
from headrace_kit.errors import BadInput, NotReady

ENTRY = """\
  {entry}: {{format: {kind}, licence: MIT, files: [{{name: {file}, size: {size}, sha256: "{sha}", \
sources: [{{path: x}}]}}]}}
"""


def entry(name: str, size: int, kind: str = "gguf", file: str = "model.gguf") -> str:
    return ENTRY.format(entry=name, kind=kind, file=file, size=size, sha="0" * 64)


def gguf_file(path: Path, values: dict[str, int | str | list[int]], cut: int | None = None) -> Path:
    """A GGUF header as llama.cpp writes it, a vocabulary included."""

    def text(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    body = b""
    for key, value in values.items():
        body += text(key)
        if isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            body += struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        else:
            body += struct.pack("<II", 4, value)
    words = [f"word{number}" for number in range(300)]
    body += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(words)) + b"".join(map(text, words))
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values) + 1) + body
    path.write_bytes(data[:cut])
    return path


SHAPE = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 4,
    "llama.embedding_length": 512,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
}
ELEMENTS = 4 * 2 * 64 * 2


def test_a_gguf_header_tells_kind_and_shape(tmp_path):
    header = gguf.read(gguf_file(tmp_path / "m.gguf", SHAPE))
    assert header.kind == "q4_k_m"
    assert header.cache_elements() == ELEMENTS
    per_layer = SHAPE | {"llama.attention.head_count_kv": [2, 0, 2, 0], "llama.attention.key_length": 32}
    assert gguf.read(gguf_file(tmp_path / "m.gguf", per_layer)).cache_elements() == 4 * (32 + 32)
    assert gguf.read(gguf_file(tmp_path / "m.gguf", {"general.architecture": "x"})).cache_elements() is None


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 60, 700])
def test_a_cut_gguf_file_is_named_not_guessed_at(tmp_path, cut):
    path = gguf_file(tmp_path / "m.gguf", SHAPE, cut)
    with pytest.raises(BadInput, match=r"m\.gguf is not a GGUF file, or is damaged"):
        gguf.read(path)


def test_a_header_that_claims_too_much_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60))
    with pytest.raises(BadInput, match="bytes"):
        gguf.read(path)


def test_quantization_is_compared_with_the_file(tmp_path):
    files = {"words": {"model.gguf": gguf_file(tmp_path / "m.gguf", SHAPE)}}
    text = f"catalogue:\n{entry('words', 1)}deployments: {{it: {{engine: triton-llamacpp, model: words, %s}}}}"
    assert artefacts(parse(text % "quantization: q4_k_m"), "it", files).models
    with pytest.raises(BadInput, match=r"deployments\.it\.quantization is q6_k, but 'words' is q4_k_m"):
        artefacts(parse(text % "quantization: q6_k"), "it", files)


@pytest.mark.parametrize(
    ("asked", "weights"), [("threads: 1", "null"), ("quantization: q4_k_m", "null"), ("quantization: q8_0", '"q8_0"')]
)
def test_weights_are_converted_to_q8_0_when_they_are_loaded(tmp_path, asked, weights):
    files = {"words": {"model.gguf": gguf_file(tmp_path / "m.gguf", SHAPE)}}
    text = f"catalogue:\n{entry('words', 1)}deployments: {{it: {{engine: triton-llamacpp, model: words, {asked}}}}}"
    (model,) = artefacts(parse(text), "it", files).models
    assert f'"weights": {weights}' in model.files["settings.json"]


def test_a_checkpoint_is_compared_too_and_its_adapters_ranks_are_read(tmp_path):
    def write(name: str, document: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    files = {
        "chat": {
            "model.safetensors": write("chat/model.safetensors", 1),
            "hf_quant_config.json": write("chat/hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}),
            "config.json": write("chat/config.json", {"model_type": "qwen3"}),
        },
        "lora": {
            "adapter_config.json": write("lora/adapter_config.json", {"r": 12, "target_modules": ["q_proj", "v_proj"]})
        },
    }
    text = (
        f"catalogue:\n{entry('chat', 1, 'safetensors', 'model.safetensors')}"
        f"{entry('lora', 1, 'safetensors', 'adapter_model.safetensors')}"
        "deployments: {it: {engine: %s, model: chat, adapters: {a: {model: lora}}, %s}}"
    )
    with pytest.raises(BadInput, match="quantization is fp8, but the files of 'chat' are nvfp4"):
        artefacts(parse(text % ("triton-tensorrtllm", "quantization: fp8")), "it", files)
    yaml = artefacts(parse(text % ("triton-tensorrtllm", "quantization: nvfp4")), "it", files).models[0].files
    assert "max_lora_rank: 12" in yaml["model.yaml"]
    assert "- attn_q\n  - attn_v\n  max_lora_rank" in yaml["model.yaml"]
    (shell,) = artefacts(parse(text % ("vllm", "address: 'http://x'")), "it", files).commands
    assert "--tool-call-parser hermes" in shell.shell()
    assert f"vllm serve {tmp_path}/chat" in shell.shell()
    with pytest.raises(BadInput, match=r"deployments\.it\.adapters\.a\.rank is needed"):
        artefacts(parse(text % ("vllm", "address: 'http://x'")), "it", {}, models_dir="/models")


def test_files_that_are_not_here_are_missed_unless_another_machine_has_them():
    text = f"catalogue:\n{entry('words', 1)}deployments: {{it: {{engine: triton-llamacpp, model: words}}}}"
    with pytest.raises(NotReady, match=r"model\.gguf of catalogue entry 'words' is not on this machine"):
        artefacts(parse(text), "it", {})
    (model,) = artefacts(parse(text), "it", {}, models_dir="/models").models
    assert json.loads(model.files["settings.json"])["model"] == "/models/words/model.gguf"


def test_an_estimate_counts_weights_caches_drafts_and_adapters(tmp_path):
    files = {name: {"model.gguf": gguf_file(tmp_path / name, SHAPE)} for name in ("words", "draft")}
    config = parse(
        f"catalogue:\n{entry('words', 1000 * MIB)}{entry('draft', 100 * MIB)}{entry('lora', 10 * MIB)}"
        "deployments:\n"
        "  it: {engine: triton-llamacpp, model: words, slots: 3, context_tokens: 1000, prefix_cache_mib: 7,\n"
        "       speculation: {method: draft_model, draft: draft}, adapters: {a: {model: lora}}}\n"
        "  small: {engine: triton-llamacpp, model: words, slots: 3, context_tokens: 1000, prefix_cache_mib: 7,\n"
        "          kv_cache: {dtype: q8_0}}\n"
    )
    places = Places(files, config.catalogue)
    whole = estimate("it", config.deployments["it"], places)
    assert whole.weights == {"words": 1000 * MIB, "draft": 100 * MIB, "lora": 10 * MIB}
    assert whole.cache == 3 * (ELEMENTS * 3000 * 2) + 2 * 7 * MIB, "of the draft, and of the model in both instances"
    assert whole.whole
    small = estimate("small", config.deployments["small"], places)
    assert small.cache == int(ELEMENTS * 3000 * 8.5 / 8) + 7 * MIB
    assert not estimate("small", config.deployments["small"], Places({}, config.catalogue)).whole


def test_deployments_that_do_not_fit_are_refused_with_the_sum_and_their_shares():
    text = (
        f"catalogue:\n{entry('one', 3 * GIB)}{entry('two', 2 * GIB)}"
        "deployments:\n"
        "  big: {engine: triton-llamacpp, model: one}\n"
        "  same: {engine: llamacpp, model: one}\n"
        "  other: {engine: triton-llamacpp, model: two}\n"
        "  hosted: {engine: litellm, model: openai/gpt-5-mini}\n"
    )
    config = parse(text)
    places = Places({}, config.catalogue)
    with pytest.raises(BadInput) as caught:
        require_fit(config, places, Machine(5 * GIB))
    message = caught.value.message
    # the weights of `one` are mapped from one file, so they count once
    assert "need at least 5.47 GiB, more than the machine's memory of 5.00 GiB" in message
    assert "big 3.16 GiB" in message
    assert "other 2.16 GiB" in message
    assert "hosted" not in message
    assert len(require_fit(config, places, Machine(6 * GIB))) == 3
    with pytest.raises(ConfigInvalid, match=r"memory_gib: 4 GiB are less than the deployments' weights, 5\.00 GiB"):
        parse(text + "services: {inference: {memory_gib: 4}}\n")
    stated = parse(text + "services: {inference: {memory_gib: 5.4}}\n")
    with pytest.raises(BadInput, match=r"more than services\.inference\.memory_gib of 5\.40 GiB"):
        require_fit(stated, places, Machine(500 * GIB))


GPU_CONFIG = (
    "catalogue:\n"
    + entry("chat", 40 * GIB, "safetensors", "model.safetensors")
    + "deployments: {it: {engine: triton-vllm, model: chat, parallel: {tensor: %d}}}"
)


def test_an_engine_that_needs_gpus_says_what_is_there_instead(tmp_path):
    config = parse(GPU_CONFIG % 2)
    none = here(tmp_path)  # a /dev without devices, on a machine whose nvidia-smi is asked if it has one
    if not none.gpus:
        with pytest.raises(BadInput, match=r"it: engine triton-vllm needs 2 GPUs; this machine has none: .+nvidia"):
            render(config, tmp_path / "out", {}, none)
        assert not (tmp_path / "out").exists()
    one = Machine(GIB, (Gpu("NVIDIA H200", 139 * GIB),))
    with pytest.raises(BadInput, match=r"needs 2 GPUs; this machine has 1 \(NVIDIA H200\)"):
        require_fit(config, Places({}, config.catalogue), one)
    require_gpus("it", TritonGpuDeployment(engine="triton-vllm", model="chat"), one)
    small = Machine(64 * GIB, (Gpu("L4", 24 * GIB),))
    one_gpu = parse(GPU_CONFIG % 1)
    with pytest.raises(BadInput, match=r"GPUs need 40\.00 GiB, more than their 24\.00 GiB: it 40\.00 GiB"):
        require_fit(one_gpu, Places({}, one_gpu.catalogue), small)


def test_nvidia_smi_is_asked_and_its_failure_is_told(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771'\necho 'NVIDIA H200, 143771'\n")
    program.chmod(0o755)
    assert [gpu.name for gpu in here().gpus] == ["NVIDIA H200", "NVIDIA H200"]
    assert here().gpus[0].memory_bytes == 143771 * MIB
    program.write_text("#!/bin/sh\necho 'Driver/library version mismatch' >&2\nexit 18\n")
    assert here().gpus == ()
    assert "Driver/library version mismatch" in here().gpu_detail


def test_versions_that_belong_together_are_a_table_that_holds():
    assert (
        versions.problems("triton-llamacpp", {"triton": "2.51.0", "python": "3.11.2", "xllamacpp": "2026.10.11549"})
        == []
    )
    assert versions.problems("triton-vllm", {"triton": "2.71.0", "vllm": "0.24.0+092c4842.nv26.7.57386851"}) == []
    (old,) = versions.problems("triton-tensorrtllm", {"triton": "2.51.0"})
    assert "triton is 2.51.0; the rendering is for 2.68.0 up to below 3" in old
    assert "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3" in old
    (mixed,) = versions.problems("triton-vllm", {"triton": "2.71.0", "vllm": "0.27.1"})
    assert mixed.endswith(
        "Triton 2.71.0 (container 26.07) carries vllm 0.24.0, not 0.27.1: take both from one container"
    )
    (python,) = versions.problems("triton-python", {"python": "3.13.1"})
    assert "stubs for 3.11 and 3.12" in python
    (model,) = versions.problems("triton-tensorrtllm", {"llmapi": "1.2.1"})
    assert "HEADRACE_LLMAPI" in model
    assert "no version" in versions.problems("vllm", {"vllm": "unknown"})[0]
    assert versions.problems("litellm", {"anything": "1"}) == []


def test_every_pinned_version_is_in_its_own_range_and_every_engine_has_pins():
    for engine, pins in versions.PINS.items():
        for pin in pins:
            if pin.tested[:1].isdigit() and not pin.tested.endswith("x"):
                assert versions.problems(engine, {pin.component: pin.tested}) == []
    released = [release for release in versions.RELEASES if release.triton]
    for release in released[1:]:
        assert (
            versions.problems("triton-tensorrtllm", {"triton": release.triton, "tensorrt_llm": release.tensorrt_llm})
            == []
        )
