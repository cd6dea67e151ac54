"""The chart on a real cluster: `make test-cluster`, whole or in parts (`make test-cluster ARGS="-k upgrade"`).

The parts run in the order of PARTS; each finds or makes what it needs, so each runs alone too. With a budget
(HEADRACE_CLUSTER_BUDGET_S) what does not begin in time is left out, and the summary names it.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.cluster.places import Places
from tests.cluster.beforehand import to_build_s
from tests.cluster.release import Release
from tests.cluster.source import Source, choose

PARTS = (
    "install",
    "calls",
    "faults",
    "resources",
    "scaling",
    "upgrade",
    "documents",
    "security",
    "rollouts",
    "modelrollouts",
    "canary",
    "autoscaling",
    "backup",
    "mistakes",
    "uninstall",
    "last_release",
    "ray",
)
"""Files of this folder, `test_<part>.py`, in the order in which they run."""

ADDONS = {"canary": ("gateway",), "autoscaling": ("metrics", "keda"), "ray": ("kuberay",)}
"""What of `infra.cluster.addons` a part needs."""
AHEAD_FROM, RAY_FROM = "documents", "mistakes"
"""From these parts on tests mostly wait, and what later parts need is brought into the cluster beside them: add-ons
first, and at last the chart on Ray."""

ASKED = os.environ.get("HEADRACE_CLUSTER_TESTS") == "1"
BUDGET_S = float(os.environ.get("HEADRACE_CLUSTER_BUDGET_S", "inf"))
KEEP = os.environ.get("HEADRACE_CLUSTER_KEEP") == "1"
_BEGUN = time.monotonic()
_left_out: list[str] = []
_measured: list[str] = []

# A cluster takes minutes: nobody gets one by running all of pytest.
collect_ignore_glob = [] if ASKED else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the parts into their order."""
    items.sort(key=lambda item: PARTS.index(_part(item)) if item.path.parent == Path(__file__).parent else -1)


def _part(node: pytest.Item | pytest.Module) -> str:
    return node.path.stem.removeprefix("test_")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what begins too late, with what has to be built for it."""
    part = _part(item)
    if math.inf != BUDGET_S and time.monotonic() - _BEGUN + to_build_s(choose(Places()), part) > BUDGET_S:
        _left_out.append(f"{part}: {item.name.removeprefix('test_').replace('_', ' ')}")
        pytest.skip("left out: the time is up")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured, and what was left out."""
    for line in _measured:
        terminalreporter.write_line(f"measured  {line}")
    for line in _left_out:
        terminalreporter.write_line(f"left out for lack of time  {line}")


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines that the end of the run prints."""
    return _measured


@pytest.fixture(scope="session")
def source() -> Iterator[Source]:
    """A running cluster and its images; stopped at the end, unless it was not ours or is to be kept."""
    places = Places()
    found = choose(places)
    try:
        _measured.extend(found.start())
        yield found
    finally:
        if not KEEP:
            found.stop()


@pytest.fixture(scope="session")
def process(source: Source) -> Iterator[Release]:
    """The chart with `runtime: process`, installed."""
    release = Release(source, "headrace-process", "process")
    release.install()
    yield release
    if not KEEP:
        release.remove()


@pytest.fixture(scope="module", autouse=True)
def _ahead(request: pytest.FixtureRequest) -> None:
    """Bring in what parts after this one need, unless it would have to be built first: that is left to the part."""
    part = _part(request.node)
    if part not in PARTS or PARTS.index(part) < PARTS.index(AHEAD_FROM):
        return
    source = request.getfixturevalue("source")
    later = sorted({_part(item) for item in request.session.items} & ADDONS.keys(), key=PARTS.index)
    for other in later:
        if PARTS.index(other) > PARTS.index(part) and not to_build_s(source, other):
            source.ahead(ADDONS[other], ("ray",) if other == "ray" else ())
            if other == "ray" and PARTS.index(part) >= PARTS.index(RAY_FROM):
                request.getfixturevalue("on_ray")()


@pytest.fixture(scope="session")
def on_ray(source: Source) -> Iterator[Callable[[], Future[Release]]]:
    """Begins to install the chart with `runtime: ray`, when it is called first; what it gives is the release."""

    def install() -> Release:
        release = Release(source, "headrace-ray", "ray")
        release.install()
        return release

    with ThreadPoolExecutor(1) as pool:
        yield functools.cache(lambda: pool.submit(install))


@pytest.fixture(autouse=True)
def _tell(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a failure, print the state of the namespace that was tested."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        for name in ("process", "ray"):
            if name in request.fixturenames:
                print(request.getfixturevalue(name).kube.told())
