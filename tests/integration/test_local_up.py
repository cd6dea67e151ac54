"""`up`, `down` and Ctrl-C as a person uses them, on a whole platform."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headrace_local import processes
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

CONFIG = """
tenants: {dev: {}}
deployments:
  scripted: {engine: triton-scripted}
models:
  scripted: {deployment: scripted}
"""


class Terminal:
    """Runs commands of one platform."""

    def __init__(self, folder: Path) -> None:
        config = folder / "headrace.yaml"
        config.write_text(CONFIG)
        self.platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
        self._env = {**os.environ, **self.platform.settings.environment()}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "headrace_local", *words],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        said = process.communicate(timeout=400)[0]
        return process.returncode, said

    def members(self) -> dict[int, dict[str, str]]:
        return processes.of_data_dir(self.platform.layout.identity)

    def key(self) -> str:
        """The product team's key, seen to work."""
        env = self.platform.env()
        with httpx.Client(base_url=env["HEADRACE_URL"], trust_env=False, timeout=30) as client:
            answer = client.get("/v1/models", headers={"authorization": f"Bearer {env['HEADRACE_API_KEY']}"})
        assert answer.status_code == 200, answer.text
        return env["HEADRACE_API_KEY"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Commands of a platform that does not run yet."""
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.platform.stop()


def until_said(process: subprocess.Popen[str], words: str) -> str:
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said {words!r}, but:\n{said}")


def test_a_platform_through_its_days(terminal: Terminal):
    # in the foreground, until Ctrl-C
    process = terminal.start("up", "--foreground")
    said = until_said(process, "Ctrl-C stops everything")
    env = terminal.platform.env()
    assert list(env) == ["HEADRACE_URL", "HEADRACE_GRPC", "HEADRACE_API_KEY", "HEADRACE_ADMIN_KEY", "HEADRACE_OTLP"]
    assert terminal.platform.layout.env_file.stat().st_mode & 0o777 == 0o600
    assert env["HEADRACE_URL"] in said
    assert f"curl -N {env['HEADRACE_URL']}/v1/chat/completions" in said
    key = terminal.key()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[0].splitlines()[-1] == "stopped"
    assert process.returncode == 0
    assert terminal.members() == {}

    # in the background, beside a second `up`
    assert terminal.run("up")[0] == 0
    assert terminal.key() == key, "the key of the first start is still good"
    code, said = terminal.run("up", "--runtime", "ray")
    assert code == 0
    assert f"already running: {env['HEADRACE_URL']}" in said
    assert "It has runtime process, not ray" in said
    code, said = terminal.run("status")
    assert code == 0
    assert "gateway" in said

    # over a crash of everything
    terminal.platform.kill_supervisor()
    assert terminal.run("status")[0] == 3
    assert terminal.run("up")[0] == 0
    assert terminal.key() == key

    assert terminal.run("down") == (0, "stopped\n")
    assert terminal.members() == {}
    assert terminal.run("down")[0] == 0, "down where nothing runs is no error"


def test_an_interrupted_start_leaves_nothing(terminal: Terminal):
    process = terminal.start("up")
    until_said(process, "postgres: ready")
    process.send_signal(signal.SIGINT)
    assert "everything that was started is stopped" in process.communicate(timeout=120)[0]
    assert process.returncode == 130
    assert terminal.members() == {}


def test_a_platform_in_the_foreground_ends_with_its_command(terminal: Terminal):
    process = terminal.start("up", "--foreground")
    until_said(process, "postgres: ready")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 120
    while terminal.members():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_mistake_in_the_config_is_told_before_anything_starts(terminal: Terminal):
    terminal.platform.settings.config.write_text(CONFIG.replace("models:", "modles:"))
    code, said = terminal.run("up")
    assert code == 1
    assert f"{terminal.platform.settings.config}:5: modles: unknown key; did you mean 'models'?" in said
    assert terminal.members() == {}
    assert not terminal.platform.layout.state.exists()


def test_a_taken_port_is_named(terminal: Terminal):
    number = terminal.platform.port("gateway-http")
    holder = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(number)])
    try:
        deadline = time.monotonic() + 30
        while not processes.started(holder.pid) or not _listens(number):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        code, said = terminal.run("up")
    finally:
        holder.kill()
        holder.wait()
    assert code == 1
    assert f"port {number} (gateway http) in use by python" in said
    assert f"(pid {holder.pid})" in said
    assert "HEADRACE_PORT_BASE=" in said
    assert terminal.members() == {}


def _listens(number: int) -> bool:
    with httpx.Client(trust_env=False) as client:
        try:
            client.get(f"http://127.0.0.1:{number}/")
        except httpx.TransportError:
            return False
    return True
