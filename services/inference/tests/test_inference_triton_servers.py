"""Which Triton a deployment's calls go to."""

from __future__ import annotations

import pytest

from headrace_inference.adapters.triton.servers import TritonServers
from headrace_kit.config import ConfigInvalid, parse
from headrace_kit.config.deployments import ScriptedDeployment


async def test_deployments_share_a_client_by_address():
    tritons = TritonServers("main:7871", "main:7872")
    here = ScriptedDeployment(engine="triton-scripted")
    there = ScriptedDeployment(engine="triton-scripted", triton_address="gpu:7871", triton_metrics_address="gpu:7872")
    assert tritons.client(here).address == "main:7871"
    assert tritons.client(there).address == "gpu:7871"
    assert tritons.client(there) is tritons.client(there.model_copy())
    assert tritons.metrics(there) is not tritons.metrics(here)
    assert tritons.metrics(here) is tritons.metrics(here.model_copy())
    await tritons.close()


async def test_another_tritons_metrics_are_not_taken_for_its_own():
    tritons = TritonServers("main:7871", "main:7872")
    assert tritons.metrics(ScriptedDeployment(engine="triton-scripted", triton_address="gpu:7871")) is None
    assert TritonServers("main:7871", None).metrics(ScriptedDeployment(engine="triton-scripted")) is None


def test_an_engine_without_triton_takes_no_address():
    text = """
catalogue:
  m: {format: gguf, licence: MIT, files: [{name: model.gguf, sha256: "%s", size: 1, sources: [{path: x}]}]}
deployments:
  small: {engine: llamacpp, model: m, triton_address: "gpu:7871"}
"""
    with pytest.raises(
        ConfigInvalid,
        match=r"deployments\.small\.triton_address: engine llamacpp cannot do that: it runs without Triton",
    ):
        parse(text % ("0" * 64))
