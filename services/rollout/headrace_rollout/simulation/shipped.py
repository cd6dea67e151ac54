"""Scenarios that come with headrace, by name: the figures of `benchmarks/rollouts`, and examples for files."""

from __future__ import annotations

from importlib import resources

from headrace_rollout.simulation.scenario import Scenario, parse_text


def names() -> list[str]:
    """Of all, in order."""
    folder = resources.files("headrace_rollout.simulation") / "scenarios"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def shipped(name: str) -> Scenario:
    """One of them.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in names():
        raise KeyError(name)
    text = (resources.files("headrace_rollout.simulation") / "scenarios" / f"{name}.yaml").read_text()
    return parse_text(text, name)
