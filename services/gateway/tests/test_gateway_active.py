"""Config snapshots and when they become active."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace_gateway.adapters.guardrails import GuardrailsCandidate
from headrace_gateway.adapters.nodes import Nodes
from headrace_gateway.routing.active import ActiveTable
from headrace_kit.config import ConfigStore, Snapshot, parse
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.node_pb2 import NodeStatus

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


class Node:
    """A peer that has these snapshots; None: it cannot be reached."""

    def __init__(self, *hashes: str | None) -> None:
        self.hashes = hashes

    def stub(self, kind):
        return type("Stub", (), {"GetStatus": None, "Check": None, "RecordDecisions": None})

    async def unary(self, method, request, outbound):
        if None in self.hashes:
            raise Upstream("gone")
        return NodeStatus(config_hashes=self.hashes)


async def test_a_second_release_is_waited_for_as_the_first_is_and_one_that_is_away_is_not():
    now, second = 0.0, Node("old")
    canaries: dict[str, Node] = {}
    nodes = Nodes({"guardrails": Node("old", "new")}, lambda: now, lambda: canaries)
    assert await nodes.missing("new") == []
    canaries["guardrails-canary"] = second
    assert await nodes.missing("new") == ["guardrails-canary"], "it would judge by older policies"
    second.hashes = (None,)
    assert await nodes.missing("new") == ["guardrails-canary"]
    now = 11.0
    assert await nodes.missing("new") == []


def test_the_client_of_the_candidate_follows_its_connection():
    first, other = Node(), Node()
    now = [None, first, first, other, None]
    candidate = GuardrailsCandidate(lambda: now.pop(0))
    clients = [candidate() for _ in range(5)]
    assert clients[0] is clients[4] is None
    assert clients[1] is clients[2] and clients[1] is not clients[3] is not None
