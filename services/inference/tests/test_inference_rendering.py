"""Triton model repositories, read back by Triton's own protobuf."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from headrace_inference.rendering import (
    Places,
    differs,
    newest,
    prune,
    render,
    render_deployment,
    write_next,
)
from headrace_kit.config import parse
from headrace_kit.config.deployments import ScriptedDeployment
from headrace_kit.errors import BadInput

CONFIG = """
catalogue:
  words: {format: gguf, licence: MIT, files: [{name: model.gguf, sha256: "%(zeros)s", size: 1, sources: [{path: x}]}]}
  texts: {format: onnx, licence: MIT, files: [{name: model.onnx, sha256: "%(zeros)s", size: 1, sources: [{path: x}]}]}
deployments:
  small: {engine: triton-llamacpp, model: words, slots: 3, speculation: {method: ngram, max_draft_tokens: 5}}
  plain: {engine: triton-llamacpp, model: words}
  echo: {engine: triton-scripted}
  vectors: {engine: triton-python, task: embed, model: texts, dimensions: 384}
  order: {engine: triton-python, task: rerank, model: texts, max_input_tokens: 512}
""" % {"zeros": "0" * 64}
INSTALLED = {"gguf", "numpy", "onnxruntime", "tokenizers", "xllamacpp", "llguidance", "triton_python_backend_utils"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "words": {"model.gguf": tmp_path / "w"},
        "texts": {"model.onnx": tmp_path / "m", "tokenizer.json": tmp_path / "t"},
    }
    out = tmp_path / "models"
    assert render(parse(CONFIG), out, files) == ["echo", "order", "plain", "small", "vectors"]
    return out


def read(folder: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_language_models_stream_and_text_models_batch(repository):
    for name in ("small", "echo"):
        config = read(repository / name)
        assert config.name == name
        assert config.model_transaction_policy.decoupled
        assert [entry.name for entry in config.input] == ["request"]
    vectors = read(repository / "vectors")
    assert vectors.HasField("dynamic_batching")
    assert vectors.max_batch_size == 64
    assert list(vectors.output[0].dims) == [384]


def test_the_newest_version_is_the_one_that_triton_serves(repository):
    for folder in repository.iterdir():
        assert read(folder).version_policy.latest.num_versions == 1


def test_settings_carry_what_the_config_says(repository, tmp_path):
    small = json.loads((repository / "small" / "1" / "settings.json").read_text())
    assert small["slots"] == 3
    assert small["model"] == str(tmp_path / "w")
    assert small["speculation"] == {"method": "ngram", "max_draft_tokens": 5, "ngram_tokens": 6, "draft": None}
    assert (small["batch_tokens"], small["prompt_cache_mib"], small["kv_dtype"]) == (32, 64, "auto")
    assert json.loads((repository / "plain" / "1" / "settings.json").read_text())["speculation"] is None
    order = json.loads((repository / "order" / "1" / "settings.json").read_text())
    assert (order["max_input_tokens"], order["tokenizer"]) == (512, str(tmp_path / "t"))


def test_every_module_that_the_code_imports_is_beside_it_or_in_tritons_environment(repository):
    for version in repository.glob("*/1"):
        for path in version.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level:
                    base = path.parents[node.level - 1]
                    parts = [node.module] if node.module else [alias.name for alias in node.names]
                    for part in parts:
                        target = base.joinpath(*part.split("."))
                        assert target.is_dir() or target.with_suffix(".py").is_file(), f"{path}: {part}"
                    continue
                else:
                    names = [node.module] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    top = name.split(".")[0]
                    beside = (version / top).is_dir()
                    assert beside or top in sys.stdlib_module_names or top in INSTALLED, f"{path}: {name}"


def test_a_model_comes_with_its_own_package_and_what_is_shared(repository):
    for name, package in {"small": "llamacpp", "echo": "scripted", "vectors": "embedder", "order": "reranker"}.items():
        code = repository / name / "1" / "triton_models"
        assert sorted(path.name for path in code.iterdir() if path.is_dir()) == sorted([package, "shared"])
        assert f"triton_models.{package}.model" in (repository / name / "1" / "model.py").read_text()


def test_rendering_again_keeps_what_is_the_same_and_removes_what_is_unwanted_but_spares_what_is_not_ours(
    repository, tmp_path
):
    (repository / "notes").mkdir()
    config = parse("deployments: {echo: {engine: triton-scripted}}")
    assert render(config, repository, {}) == ["echo"]
    assert sorted(path.name for path in repository.iterdir()) == ["echo", "notes"]
    assert newest(repository, "echo") == 1


def test_a_change_becomes_the_next_version_and_the_last_two_stay(repository):
    def versions() -> list[str]:
        return sorted(path.name for path in (repository / "echo").iterdir() if path.is_dir())

    for limit, expected in ((7, ["1", "2"]), (7, ["1", "2"]), (8, ["2", "3"])):
        render(parse(f"deployments: {{echo: {{engine: triton-scripted, max_in_flight: {limit}}}}}"), repository, {})
        assert versions() == expected
    assert json.loads((repository / "echo" / "3" / "settings.json").read_text())["max_in_flight"] == 8
    assert json.loads((repository / "echo" / "2" / "settings.json").read_text())["max_in_flight"] == 7


def test_versions_are_told_apart_by_what_they_were_rendered_from(tmp_path):
    one, other = (render_deployment("echo", ScriptedDeployment(max_in_flight=limit), Places({}))[0] for limit in (1, 2))
    assert newest(tmp_path, "echo") is None
    assert differs(tmp_path, one)
    assert write_next(tmp_path, one) == 1
    assert not differs(tmp_path, one)
    assert differs(tmp_path, other)
    assert write_next(tmp_path, other) == 2
    assert not differs(tmp_path, other)
    assert write_next(tmp_path, one) == 3
    assert prune(tmp_path, "echo", keep=2) == [1]
    assert newest(tmp_path, "echo") == 3
    # a version that was cut short by a crash is made again
    (tmp_path / "echo" / "3" / "rendered.sha256").unlink()
    assert differs(tmp_path, one)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"'texts' has no file tokenizer\.json"):
        files = {"words": {"model.gguf": tmp_path / "w"}, "texts": {"model.onnx": tmp_path / "m"}}
        render(parse(CONFIG), tmp_path / "models", files)
