"""Random documents, callers and queries while rights change: nobody is ever shown what he may not read."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace_retrieval.adapters.postgres import graphs
from headrace_retrieval.domain import search


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kit, leaks = _load("retrieval_replica"), _load("retrieval_leaks")

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = ()
CONFIG = kit.CONFIG
CHECKS = int(os.environ.get("HEADRACE_LEAK_CHECKS", "0"))
"""How many checks; 0: as many as fit into `SECONDS`."""

SECONDS = 25.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(part) -> AsyncIterator[kit.Replica]:
    """A replica whose collections have graphs early, so that both ways of the vector search are tried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "GRAPH_FROM", 60)
        patch.setattr(graphs, "UNSETTLED", 20)
        patch.setattr(search, "ONE_BY_ONE", 40)
        async with kit.serving(part) as running:
            yield running


async def test_no_caller_is_shown_what_he_may_not_read_while_rights_change(replica):
    game = leaks.Game(replica, kit, seed=11)
    await game.fill()
    until = time.monotonic() + SECONDS
    await game.play(lambda: game.checks < CHECKS if CHECKS else time.monotonic() < until)
    print(f"{game.checks} checks, {game.searches} searches, {game.changes} changes of rights meanwhile")
    assert game.leaked == []
    assert game.checks > 200 and game.changes > 10 and game.shown > 100, "it was a real game"


async def test_the_game_sees_a_leak(replica, monkeypatch):
    """Were the rights left out of the searches and the policies, the game would tell."""
    game = leaks.Game(replica, kit, seed=12)
    await game.fill()
    monkeypatch.setattr(game, "may_read", lambda caller, document: False)
    await game.play(lambda: game.searches < 20)
    assert game.leaked
