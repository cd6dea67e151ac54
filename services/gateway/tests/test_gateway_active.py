"""Config snapshots and when they become active."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace_gateway.routing.active import ActiveTable
from headrace_kit.config import ConfigStore, Snapshot, parse

OLD = "deployments:\n  small: {engine: triton-scripted}\nmodels:\n  a: {deployment: small}\n"
NEW = OLD + "  b: {deployment: small}\n"
NEWER = NEW + "  c: {deployment: small}\n"


def snapshot(text):
    return Snapshot(parse(text), Path("headrace.yaml"))


class Services:
    """What the others have; `asked` grows with every question."""

    def __init__(self):
        self.hashes, self.asked = set(), 0

    async def missing(self, digest):
        self.asked += 1
        return [] if digest in self.hashes else ["inference"]


@pytest.fixture
async def parts():
    configs, services = ConfigStore(snapshot(OLD)), Services()
    active = ActiveTable(configs, services.missing)
    active.start()
    yield configs, services, active
    await active.stop()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_new_snapshot_waits_for_the_services(parts):
    configs, services, active = parts
    old = active.current
    configs.replace(snapshot(NEW))
    await until(lambda: services.asked >= 2)
    assert active.current is old and active.pending == configs.current.hash
    services.hashes.add(configs.current.hash)
    await until(lambda: active.current is not old)
    assert active.current.hash == configs.current.hash and active.pending == ""
    assert list(active.current.models) == ["a", "b"] and list(old.models) == ["a"]


async def test_a_newer_snapshot_overtakes_one_that_waits(parts):
    configs, services, active = parts
    configs.replace(snapshot(NEW))
    await until(lambda: services.asked >= 1)
    configs.replace(snapshot(NEWER))
    services.hashes.add(configs.current.hash)
    await until(lambda: "c" in active.current.models)


async def test_a_snapshot_that_cannot_be_compiled_is_refused(parts, monkeypatch):
    configs, _, active = parts
    old = active.current

    def broken(_):
        raise ValueError("a bad check")

    monkeypatch.setattr("headrace_gateway.routing.active.compile_table", broken)
    configs.replace(snapshot(NEW))
    await until(lambda: active.error)
    assert active.current is old and active.error == "a bad check"
