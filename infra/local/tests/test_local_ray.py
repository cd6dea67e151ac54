"""Ray's session and its shims, without Ray: sockets, a stand-in for HAProxy, and processes of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_kit.config.ports import BLOCK, OFFSETS
from headrace_local import ray
from headrace_local.ports import FIRST, LAST
from headrace_local.ray import session
from headrace_local.ray.settings import DIRECT, DIRECT_EACH, SESSION, direct_ports, variables

SITE = Path(ray.__file__).with_name("site")
HAPROXY_MAX_PATH = 97
NODE_ID = "f" * 56
"""Ray puts HAProxy's files into a folder of this length below the one that it is given."""


@pytest.fixture
def made(tmp_path):
    record = tmp_path / "run" / "ray-session"
    folder = session.create(record)
    yield record, folder
    session.recover(record)


def test_a_session_is_private_and_recorded(made):
    record, folder = made
    assert Path(record.read_text().strip()) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert len((folder / "token").read_text()) == 64


def test_sockets_stay_within_what_haproxy_takes(made):
    values = variables(made[1], lambda name: 7800 + OFFSETS[name])
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(values[name])
        assert len(str(path.parent / NODE_ID / path.name)) <= HAPROXY_MAX_PATH


def test_every_named_port_is_in_the_block(made):
    values = variables(made[1], lambda name: 7800 + OFFSETS[name])
    for name in ("STATS_PORT", "METRICS_PORT"):
        assert 7800 <= int(values[f"RAY_SERVE_HAPROXY_{name}"]) < 7800 + BLOCK
    assert len(set(OFFSETS.values())) == len(OFFSETS)


def test_replicas_of_two_platforms_share_no_port():
    bases = range(FIRST, LAST, BLOCK)
    taken = [port for base in bases for ports in direct_ports(base) for port in ports]
    assert len(set(taken)) == len(taken) == len(bases) * 2 * DIRECT_EACH
    assert max(taken) < FIRST
    default = [port for ports in direct_ports(7800) for port in ports]
    assert min(default) >= DIRECT and max(default) < FIRST


def test_haproxy_listens_on_loopback_whatever_ray_wrote(tmp_path):
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "frontend a\n    bind :9101\nlisten b\n  bind *:8404\nfrontend c\n    bind 127.0.0.1:80 proto h2\n"
    )
    real = tmp_path / "the real one"
    real.write_text('#!/bin/sh\necho "$@"\n')
    real.chmod(0o700)
    wrapper = tmp_path / "haproxy.sh"
    session.write_haproxy(wrapper, str(real))
    said = subprocess.run([wrapper, "-db", "-f", config], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["-db", "-f", str(config)]
    binds = [line.strip() for line in config.read_text().splitlines() if "bind" in line]
    assert binds == ["bind 127.0.0.1:9101", "bind 127.0.0.1:8404", "bind 127.0.0.1:80 proto h2"]


@pytest.mark.parametrize("address", ["[::]:0", "0.0.0.0:0", "127.0.0.1:0"])
def test_grpc_servers_listen_on_loopback(address):
    code = f"""
import asyncio, os, psutil
from grpc import aio
async def main():
    server = aio.server()
    server.add_insecure_port({address!r})
    await server.start()
    print(*{{at.laddr.ip for at in psutil.Process().net_connections() if at.status == "LISTEN"}})
    await server.stop(None)
asyncio.run(main())
"""
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SITE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(said.stdout.split()) <= {"127.0.0.1", "::ffff:127.0.0.1"} and said.stdout.split()


def test_a_sitecustomize_of_the_installation_runs_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.seen = 'the other one'\n")
    said = subprocess.run(
        [sys.executable, "-c", "print(seen)"],
        env={**os.environ, "PYTHONPATH": f"{SITE}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "the other one"


def test_recovery_ends_the_sessions_processes_and_no_others(made):
    record, folder = made
    sleeper = (sys.executable, "-c", "import time; print(flush=True); time.sleep(600)")
    ours = subprocess.Popen(sleeper, env={**os.environ, SESSION: str(folder)}, stdout=subprocess.PIPE)
    other = subprocess.Popen(sleeper, env={**os.environ, SESSION: f"{folder}-other"}, stdout=subprocess.PIPE)
    try:
        for process in (ours, other):
            process.stdout.readline()
        assert session.members(folder) == [ours.pid]
        assert session.recover(record)
        assert ours.wait(10) == -9
        assert other.poll() is None
        assert not folder.exists() and not record.exists()
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
            process.stdout.close()


def test_nothing_to_recover(tmp_path):
    assert not session.recover(tmp_path / "none")


def test_a_record_that_names_something_else_is_not_believed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    record = tmp_path / "record"
    record.write_text(f"{precious}\n")
    assert not session.recover(record)
    assert precious.exists() and not record.exists()
