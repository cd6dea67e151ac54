"""The embedded Triton: it comes back when it is killed, and leaves no shared memory behind."""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_local import processes
from headrace_local.platform import Platform, StartFailed
from headrace_local.ports import free_port_base, listening
from headrace_local.settings import Settings

CONFIG = """
tenants: {dev: {}}
deployments:
  first: {engine: triton-scripted}
  second: {engine: triton-scripted}
models:
  first: {deployment: first}
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Triton alone, with two models that need no weights."""
    config = tmp_path / "headrace.yaml"
    config.write_text(CONFIG)
    # a space, because Triton's backend starts its stubs through a shell
    platform = Platform(Settings(data_dir=tmp_path / "a folder", port_base=free_port_base(), config=config))
    yield platform
    platform.stop()


def regions(platform: Platform) -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if platform.layout.identity in path.name}


def model_is_ready(platform: Platform, name: str) -> bool:
    url = f"http://127.0.0.1:{platform.port('triton-http')}/v2/models/{name}/ready"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status == 200


def test_triton_comes_back_after_kill_9_and_leaves_nothing(platform: Platform):
    platform.start(["triton"], bound=True)
    assert model_is_ready(platform, "first")
    assert model_is_ready(platform, "second")
    first = regions(platform)
    assert len(first) == 2, "a region a model, under our name"
    assert {
        address.removeprefix("::ffff:") for address, _ in listening(processes.of_data_dir(platform.layout.identity))
    } == {"127.0.0.1"}

    platform.kill("triton")
    platform.wait_ready("triton", restarts=1)
    assert model_is_ready(platform, "second")
    assert len(regions(platform)) == 2
    assert regions(platform).isdisjoint(first)

    platform.kill_supervisor()
    platform.start(["triton"], bound=True)
    assert model_is_ready(platform, "first")
    assert len(regions(platform)) == 2

    platform.stop()
    assert regions(platform) == set()
    assert not list(Path(tempfile.gettempdir()).glob(f"headrace-*/{platform.layout.identity}"))
    assert processes.of_data_dir(platform.layout.identity) == {}


def test_a_model_file_that_differs_is_named_and_nothing_stays(platform: Platform, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"not the weights")
    platform.settings.config.write_text(
        CONFIG.replace("engine: triton-scripted}", "engine: triton-llamacpp, model: mine}", 1)
        + "catalogue:\n  mine: {format: gguf, licence: none, files: [{name: model.gguf, size: 15, "
        f"sha256: {'a' * 64}, sources: [{{path: model.gguf}}]}}]}}\n"
    )
    with pytest.raises(StartFailed) as caught:
        platform.start(["triton"], bound=True)
    assert "models failed" in str(caught.value)
    assert "model.gguf" in str(caught.value)
    assert "sha256" in str(caught.value)
    assert processes.of_data_dir(platform.layout.identity) == {}
