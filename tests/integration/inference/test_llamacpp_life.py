"""Loading, failing and ending of llama.cpp beside the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from inference_suite.answers import gather
from inference_suite.local import chat, loaded, local_engine, weights
from inference_suite.waiting import until

from headrace_kit.errors import NotReady, Upstream

ENDLESS = {"type": "regex", "regex": "([a-z]+ ){400}"}
"""An answer that does not end before its `max_tokens`."""


def children() -> set[int]:
    """Processes of ours."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def test_the_event_loop_goes_on_while_a_model_loads():
    engine = local_engine({"model": weights("small")})
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    await engine.load()
    turning.cancel()
    assert turns > 10
    assert (await engine.health()).state == "ready"
    await engine.close()


@pytest.mark.parametrize("share", [0, 0.001, 0.5])
async def test_a_truncated_model_says_why_and_leaves_what_serves(tmp_path, share):
    whole = weights("small").read_bytes()
    model = tmp_path / "model.gguf"
    model.symlink_to(weights("small"))
    async with loaded({"model": model}, slots=1) as engine:
        before = engine.pid
        model.unlink()
        model.write_bytes(whole[: round(len(whole) * share)])
        with pytest.raises(Upstream, match=r"could not load .*: (failed to read|tensor .* not within the file)"):
            await engine.load()
        assert engine.pid == before
        assert (await engine.health()).state == "ready"
        assert (await gather(engine, chat("Hi", max_tokens=3))).usage.output_tokens == 3


async def test_a_new_version_takes_over_without_a_dropped_stream():
    async with loaded({"model": weights("small")}, slots=1) as engine:
        before = engine.pid
        stream = engine.generate(chat("Count.", max_tokens=150, response_format=ENDLESS))
        await anext(stream)
        await engine.load()
        assert engine.pid != before
        assert (await gather(engine, chat("Hi", max_tokens=3))).usage.output_tokens == 3
        rest = [chunk async for chunk in stream]
        assert rest[-1].usage is not None
        assert rest[-1].usage.output_tokens == 150
        await until(lambda: _gone(before))


async def test_unloading_ends_what_was_begun_and_refuses_what_comes():
    engine = local_engine({"model": weights("small")}, slots=1)
    await engine.load()
    pid = engine.pid
    stream = engine.generate(chat("Count.", max_tokens=60, response_format=ENDLESS))
    await anext(stream)
    unloading = asyncio.create_task(engine.unload())
    await until(lambda: _is(engine, "unloaded"))
    with pytest.raises(NotReady, match="unloaded"):
        await gather(engine, chat("Hi"))
    rest = [chunk async for chunk in stream]
    assert rest[-1].usage is not None
    await unloading
    assert await _gone(pid)
    await engine.close()


async def test_a_process_that_dies_ends_its_streams_and_comes_back():
    async with loaded({"model": weights("small")}, slots=2) as engine:
        streams = [engine.generate(chat("Count.", max_tokens=900, response_format=ENDLESS)) for _ in range(3)]
        reading = [asyncio.create_task(_drain(stream)) for stream in streams]
        await until(lambda: _busy(engine))
        before = engine.pid
        os.kill(before, signal.SIGKILL)
        ended = await asyncio.gather(*reading, return_exceptions=True)
        assert [type(end) for end in ended] == [Upstream] * 3
        await until(lambda: _serves_anew(engine, before))
        assert (await gather(engine, chat("Hi", max_tokens=3))).usage.output_tokens == 3


async def test_a_process_that_is_killed_while_it_loads_is_an_error():
    engine = local_engine({"model": weights("small")})
    before = children()
    loading = asyncio.create_task(engine.load())
    await until(lambda: _some(children() - before))
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Upstream, match="ended with -9"):
        await loading
    assert (await engine.health()).state == "failed"
    await engine.close()


async def test_giving_up_a_load_leaves_no_process():
    engine = local_engine({"model": weights("small")})
    before = children()
    loading = asyncio.create_task(engine.load())
    await until(lambda: _some(children() - before))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert children() == before
    await engine.close()


async def test_the_engine_ends_with_the_service(tmp_path):
    script = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1])\n"
        "from inference_suite.local import *\n"
        "async def main():\n"
        "    engine = local_engine({'model': weights('small')})\n"
        "    await engine.load()\n"
        "    print(engine.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    suite = str(Path(__file__).parent / "suite")
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, suite, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert service.stdout is not None
    pid = int(await service.stdout.readline())
    service.kill()
    await service.wait()
    await until(lambda: _gone(pid))


async def test_a_missing_package_names_the_extra(monkeypatch):
    engine = local_engine({"model": weights("small")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Upstream, match=r"xllamacpp and llguidance: install headrace-inference\[llamacpp\]"):
        await engine.load()
    await engine.close()


async def _drain(stream) -> None:
    async with contextlib.aclosing(stream):
        async for _ in stream:
            pass


async def _is(engine, state: str) -> bool:
    return (await engine.health()).state == state


async def _serves_anew(engine, before: int) -> bool:
    return await _is(engine, "ready") and engine.pid != before


async def _busy(engine) -> bool:
    return (await engine.stats()).running == 2


async def _some(found: set[int]) -> bool:
    return bool(found)


async def _gone(pid: int) -> bool:
    """A process that nobody waits for any more may stay as a zombie where PID 1 does not reap."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
