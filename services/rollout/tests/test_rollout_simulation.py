"""The simulator: files, plays, and that a few plays of the shipped scenarios end as they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_rollout.simulation.run import share_of, simulate, wald
from headrace_rollout.simulation.scenario import ScenarioInvalid, parse, read
from headrace_rollout.simulation.shipped import names, shipped


@pytest.mark.parametrize(
    ("scenario", "plays", "end"),
    [
        ("aa-sticky-0.1", 2, "running"),
        ("errors", 4, "rolled back"),
        ("slow", 3, "rolled back"),
        ("quality", 6, "rolled back"),
        ("dear", 3, "rolled back"),
        ("one-tenant", 2, "rolled back"),
        ("late", 1, "rolled back"),
        ("silent", 1, "missing"),
        ("better", 1, "promoted"),
        ("worse-than-margin", 2, "rolled back"),
    ],
)
def test_plays_end_as_they_should(scenario: str, plays: int, end: str):
    """Seeded: the same plays each time. The shares themselves are measured by benchmarks/rollouts."""
    (ours,) = simulate(shipped(scenario), plays, seed=11)
    assert ours.plays == plays
    assert {name.split(":")[0] for name in ours.ends} == {end}


def test_the_same_seed_plays_the_same_and_peers_play_too():
    first, second = (simulate(shipped("errors"), 3, seed=5, with_peers=True) for _ in range(2))
    assert first == second
    assert [one.judge for one in first] == ["headrace", "fixed thresholds", "t-test, peeked at"]
    assert simulate(shipped("errors"), 3, seed=6) != first[:1]


def test_every_shipped_scenario_is_one():
    assert len(names()) > 15
    for name in names():
        assert shipped(name).about


def test_a_file(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("traffic: {users: 50, correlation: 0.05}\ncandidate: {errors: 5%, latency: 1.5x}\n")
    assert read(file).candidate.latency == 1.5
    for text, message in (
        ("candidate: {errors: 5}", r"candidate.errors: 5 is not a percentage"),
        ("candidat: {}", r"candidat: Extra inputs"),
        ("a: [", "is not YAML"),
        ("- 1", "valid dictionary"),
        ("pairs: {graded: {discordant: 1%, worse: 5}}", "worse cannot be more than discordant"),
    ):
        file.write_text(text)
        with pytest.raises(ScenarioInvalid, match=message):
            read(file)
    with pytest.raises(ScenarioInvalid, match="No such file"):
        read(tmp_path / "none.yaml")


def test_nothing_is_a_scenario_with_defaults():
    assert parse(None, "empty").steps[0].weight == 1_000


def test_closed_forms():
    """Wald's mean sample sizes of 1% against 5%, and an interval by Wilson (of 0 in 20: 0 to 16.1%)."""
    assert round(wald(0.01, 0.05, 0.05)) == 67
    assert round(wald(0.01, 0.05, 0.0125)) == 100
    assert share_of(0, 20).high == pytest.approx(0.161, abs=1e-3)
