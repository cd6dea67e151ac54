"""Arrivals over hours, each kind with its own burstiness."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

STEP_S = 1.0
Rates = np.ndarray
"""Requests per second, one value a second."""


def day(hours: float, random: np.random.Generator) -> Rates:
    """A working day in `hours`: slow at both ends, noisy in between."""
    at = np.linspace(0, math.pi, int(hours * 3600))
    noise = np.exp(_smooth(random.normal(0, 0.35, at.size), 120))
    return np.asarray((1 + 11 * np.sin(at) ** 2) * noise)


def crowd(hours: float, random: np.random.Generator) -> Rates:
    """Little traffic, and now and then ten times as much within two minutes, for ten to twenty."""
    rates = np.full(int(hours * 3600), 1.2)
    at = 1200
    while at < rates.size - 1800:
        stays = int(random.integers(600, 1200))
        end = min(at + 120 + stays + 300, rates.size)
        up, hold = np.linspace(0, 1, 120), np.ones(stays)
        shape = np.concatenate([up, hold, np.linspace(1, 0, 300)])[: end - at]
        rates[at:end] += 12 * shape
        at = end + int(random.integers(900, 2400))
    return rates


def bursts(hours: float, random: np.random.Generator) -> Rates:
    """On and off, for minutes each (a Markov-modulated Poisson process)."""
    rates, on = np.empty(int(hours * 3600)), False
    at = 0
    while at < rates.size:
        stays = int(random.exponential(240 if on else 420)) + 1
        rates[at : at + stays] = 10.0 if on else 1.5
        at, on = at + stays, not on
    return rates


def climb(hours: float, random: np.random.Generator) -> Rates:
    """A launch: steadily up to twelve a second in a third of the time, and down again."""
    size = int(hours * 3600)
    at = np.arange(size) / size
    return np.clip(np.minimum(at / 0.33, (1 - at) / 0.5), 0.02, 1) * 12 * np.exp(random.normal(0, 0.05, size))


def steady(hours: float, random: np.random.Generator) -> Rates:
    """Four a second, all the time."""
    return np.asarray(np.full(int(hours * 3600), 4.0) * np.exp(_smooth(random.normal(0, 0.2, int(hours * 3600)), 120)))


def no_change(hours: float) -> np.ndarray:
    """Answers are as long as ever."""
    return np.ones(int(hours * 3600))


def grow(hours: float) -> np.ndarray:
    """From half of the time on answers are three times as long, after a change that nobody announced."""
    size = int(hours * 3600)
    return np.where(np.arange(size) < size // 2, 1.0, 3.0)


TRAFFIC: dict[str, tuple[Callable[[float, np.random.Generator], Rates], Callable[[float], np.ndarray]]] = {
    "day": (day, no_change),
    "crowd": (crowd, no_change),
    "bursts": (bursts, no_change),
    "climb": (climb, no_change),
    "longer": (steady, grow),
}
"""Requests per second, and the length of answers relative to what the servers were sized for."""


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """A moving mean with the deviation of `values`."""
    means = np.convolve(values, np.ones(window) / window, mode="same")
    return np.asarray(means * math.sqrt(window))
