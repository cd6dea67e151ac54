"""The model repository of a Triton that somebody else's process runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from headrace_inference.rendering.follow import Follower, ModelRepository
from headrace_kit.config import Environment, Snapshot, parse
from headrace_kit.errors import BadInput, Upstream


def snapshot(path, **lengths: int) -> Snapshot:
    lines = [f"  {name}: {{engine: triton-scripted, context_tokens: {tokens}}}" for name, tokens in lengths.items()]
    hosted = "  hosted: {engine: litellm, model: openai/x}"
    return Snapshot(parse("\n".join(["deployments:", hosted, *lines])), path)


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models", Environment(cache_dir=tmp_path / "cache", offline=True))


def test_it_writes_what_runs_on_triton(repository, tmp_path):
    assert repository.write(snapshot(tmp_path, echo=512, other=512)) == (["echo", "other"], [])
    assert (tmp_path / "models" / "echo" / "1").is_dir()
    assert repository.write(snapshot(tmp_path, echo=512, other=512)) == ([], [])


def test_what_changed_and_what_went(repository, tmp_path):
    repository.write(snapshot(tmp_path, echo=512, other=512))
    assert repository.write(snapshot(tmp_path, echo=1024, new=512)) == (["echo", "new"], ["other"])
    assert (tmp_path / "models" / "echo" / "2").is_dir()


def test_a_triton_runs_its_own_deployments_only(tmp_path):
    one = ModelRepository(tmp_path / "models", Environment(cache_dir=tmp_path / "cache"), ["echo"])
    assert one.write(snapshot(tmp_path, echo=512, other=512)) == (["echo"], [])
    with pytest.raises(BadInput, match="no deployment 'echo', which this Triton"):
        one.write(snapshot(tmp_path, other=512))


async def test_triton_is_told_and_told_again_until_it_did_it(repository, tmp_path):
    told: list[tuple[str, str]] = []
    failures = [Upstream("loading: no memory")]
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(what: str, name: str) -> None:
        told.append((what, name))
        if failures:
            raise failures.pop()
        if len(told) in (2, 4):
            loop.call_soon_threadsafe(done.set)

    follower = Follower(repository, tell, pause_s=0)
    task = asyncio.create_task(follower.run())
    try:
        follower.take(snapshot(tmp_path, echo=512))
        await asyncio.wait_for(done.wait(), 10)
        assert told == [("load", "echo"), ("load", "echo")]
        done.clear()
        follower.take(snapshot(tmp_path, new=512))
        await asyncio.wait_for(done.wait(), 10)
        assert told[2:] == [("load", "new"), ("unload", "echo")]
    finally:
        task.cancel()


async def test_a_model_that_cannot_be_loaded_keeps_no_other_waiting(repository, tmp_path):
    told: list[str] = []
    loaded = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(what: str, name: str) -> None:
        told.append(name)
        if name == "bad":
            raise Upstream("it cannot be loaded")
        loop.call_soon_threadsafe(loaded.set)

    task = asyncio.create_task((follower := Follower(repository, tell, pause_s=3600)).run())
    try:
        follower.take(snapshot(tmp_path, bad=512, good=512))
        await asyncio.wait_for(loaded.wait(), 10)
        assert told == ["bad", "good"]
    finally:
        task.cancel()


def test_it_ends_when_it_is_told_to_also_as_the_first_process_of_a_container(tmp_path):
    config, out = tmp_path / "headrace.yaml", tmp_path / "models"
    config.write_text("deployments: {echo: {engine: triton-scripted}}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace_inference.rendering.follow", "--out", str(out), "--triton", "127.0.0.1:9"],
        env={**os.environ, "HEADRACE_CONFIG": str(config), "HEADRACE_CACHE_DIR": str(tmp_path / "cache")},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "echo").is_dir() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0  # not -SIGTERM: it has a handler
    finally:
        process.kill()
        process.wait()
