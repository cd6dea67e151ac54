"""Children of a service: their streams, their end, and that no hook of a fork runs in them."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
import uvloop

from headrace_kit.processes import Process

LARGE = b"x" * 3_000_000


async def test_all_that_goes_in_comes_out():
    process = await Process.start("cat")
    assert await process.communicate(LARGE) == LARGE
    assert process.returncode == 0


async def test_one_that_does_not_read_is_not_waited_for():
    process = await Process.start("true")
    assert await process.communicate(LARGE) == b""
    assert await process.wait() == 0


async def test_lines_go_to_and_fro():
    process = await Process.start("cat", limit=2**20)
    for line in (b"one\n", b"y" * 2**19 + b"\n"):
        process.stdin.write(line)
        await process.stdin.drain()
        assert await process.stdout.readline() == line
    assert process.returncode is None
    process.stdin.close()
    assert await process.wait() == 0


async def test_killed_while_several_wait_for_it():
    process = await Process.start("sleep", "60")
    waiting = [asyncio.create_task(process.wait()) for _ in range(3)]
    gone = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    gone.cancel()
    process.kill()
    assert await asyncio.gather(*waiting) == [-signal.SIGKILL] * 3
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_where_processes_have_no_handles_it_is_looked_after(monkeypatch):
    def refused(_):
        raise PermissionError

    monkeypatch.setattr("headrace_kit.processes.os.pidfd_open", refused)
    process = await Process.start("cat")
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    process.stdin.close()
    assert await waiting == 0


async def test_what_is_not_there_cannot_be_started():
    with pytest.raises(OSError, match="no-such-program"):
        await Process.start("no-such-program")


async def test_its_environment_is_the_one_that_is_given():
    script = "import os; print(os.environ.get('A'), os.environ.get('B'))"
    process = await Process.start(sys.executable, "-c", script, env={"A": "1"})
    assert await process.communicate(b"") == b"1 None\n"


def test_under_uvloop_no_hook_of_a_fork_runs():
    """Hooks may start threads in the child, which dies of it now and then."""
    script = """
import asyncio, os, sys, uvloop
from headrace_kit.processes import Process
os.register_at_fork(after_in_child=lambda: os.write(2, b"hook"))
async def main():
    process = await Process.start("cat", silent=sys.argv[1] == "silent")
    print(await process.communicate(b"through"), await process.wait())
uvloop.run(main())
"""
    for how in ("silent", "loud"):
        done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, env=os.environ)
        assert (done.stdout, done.stderr) == ("b'through' 0\n", "")


@pytest.mark.parametrize("silent", [False, True])
def test_its_errors_go_where_those_of_the_service_go(capfd, silent):
    async def complain():
        process = await Process.start("sh", "-c", "echo complaint >&2", silent=silent)
        await process.communicate(b"")

    uvloop.run(complain())
    assert ("complaint" in capfd.readouterr().err) is not silent
