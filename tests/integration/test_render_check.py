"""`headrace models render --check`: what is rendered is loaded by a real Triton."""

from __future__ import annotations

import pytest

from headrace_inference.rendering.artefacts import artefacts, check
from headrace_kit.config import parse
from headrace_local.trial import loader

CONFIG = "deployments: {scripted: {engine: triton-scripted}}"


@pytest.fixture(scope="module")
def load():
    found = loader()
    assert found is not None, "Triton's environment is missing: make up"
    return found


def test_a_rendering_that_triton_loads_has_no_problems(load):
    assert check(artefacts(parse(CONFIG), "scripted", {}), load) == []


def test_what_triton_refuses_is_told_with_its_reason(load, tmp_path):
    artefacts(parse(CONFIG), "scripted", {}).write(tmp_path)
    (tmp_path / "scripted" / "1" / "model.py").write_text("import a_module_that_is_nowhere\n")
    [problem] = load(tmp_path)
    assert problem.startswith("scripted: ") and "a_module_that_is_nowhere" in problem


def test_a_repository_that_triton_cannot_read_is_told(load, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.pbtxt").write_text('name: "broken"\nbackend: "python"\nnonsense: 1\n')
    [problem] = load(tmp_path)
    assert "broken" in problem
