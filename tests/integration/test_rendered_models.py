"""What is rendered for engines that run on CPUs is loaded by the real Triton; versions take over from each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from headrace_inference.catalogue import pull
from headrace_inference.rendering import artefacts, check, newest, render, render_deployment, write_next
from headrace_inference.rendering.model import Rendered
from headrace_inference.rendering.places import Places
from headrace_kit.config import Environment, Snapshot, load
from headrace_kit.config.deployments import ScriptedDeployment
from headrace_local.settings import Settings
from headrace_local.trial import loader


def load_models(repository: Path) -> list[str]:
    """What the real Triton refuses; it is part of the local platform, so that it is there."""
    load = loader()
    assert load is not None
    return load(repository)


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> tuple[Snapshot, dict[str, dict[str, Path]]]:
    """The local platform's config and files."""
    path = Settings(data_dir=tmp_path_factory.mktemp("unused")).config
    snapshot = Snapshot(load(path), path)
    return snapshot, pull(snapshot, Environment(), ["smollm2-135m", "minilm", "reranker"])


@pytest.mark.parametrize("name", ["small", "minilm", "reranker", "scripted"])
def test_the_real_triton_loads_what_is_rendered(local, name):
    snapshot, files = local
    assert check(artefacts(snapshot.config, name, files), load_models) == []


def test_a_model_that_does_not_load_is_named_with_its_reason(local, tmp_path):
    snapshot, files = local
    broken = tmp_path / "model.gguf"
    broken.write_bytes(files["smollm2-135m"]["model.gguf"].read_bytes()[:100_000])
    render(
        snapshot.config,
        tmp_path / "models",
        files | {"smollm2-135m": {"model.gguf": broken}, "qwen2.5-coder-0.5b": {"model.gguf": broken}},
    )
    problems = load_models(tmp_path / "models")
    assert sorted(problem.split(":")[0] for problem in problems) == ["large", "small"]
    assert all("could not load" in problem for problem in problems)


def test_the_newest_version_is_loaded_and_a_broken_one_is_told(tmp_path):
    (model,) = render_deployment("echo", ScriptedDeployment(), Places({}))
    assert write_next(tmp_path, model) == 1
    worse = dataclasses.replace(model, files={**model.files, "model.py": "raise RuntimeError('worse than before')\n"})
    assert isinstance(worse, Rendered)
    assert write_next(tmp_path, worse) == 2
    assert newest(tmp_path, "echo") == 2
    (problem,) = load_models(tmp_path)
    assert "worse than before" in problem
