"""Bets are fair: over all ways in which coins can fall, a fortune is 1 in the mean, whatever was bet."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from headrace_rollout.analysis.betting import ArmBets, Bets, EventBets, LineBets, TemperedBets
from headrace_rollout.analysis.keys import Counts, Epochs, FirstTime
from headrace_rollout.analysis.repeats import LEVELS, Repeats


@pytest.mark.parametrize(("chance", "alpha"), [(0.1, 0.05), (0.5, 0.01), (0.9, 0.05)])
def test_events_are_bet_on_at_fair_odds(chance: float, alpha: float):
    mean = 0.0
    for arms in itertools.product((False, True), repeat=8):
        bets = EventBets(alpha, (1.0, 2.0, 1.0))
        for arm in arms:
            bets.add(arm, chance, np.asarray([2.0, 5.0, 20.0]))
        ways = math.prod(chance if arm else 1 - chance for arm in arms)
        mean += ways * math.exp(bets.now)
        # aimed: the goal is met, not passed
        assert bets.peak <= bets.goal + 1e-9
    assert mean == pytest.approx(1)


def test_scores_are_bet_on_at_fair_odds():
    scores = np.asarray([[0.1, 0.0], [0.9, 1.0], [0.5, 0.0], [0.7, 1.0], [0.95, 1.0]])
    chance = np.asarray([0.1, 0.1, 0.3, 0.5, 0.2])
    mean = 0.0
    for arms in itertools.product((False, True), repeat=len(scores)):
        arm_bets = ArmBets((0.5, 2.0, 8.0), (1.0, 3.0))
        bets = Bets(0.05, arm_bets.prior)
        bets.follow(arm_bets(scores, np.asarray([0.5, 0.2]), np.asarray(arms), chance))
        mean += np.prod(np.where(arms, chance, 1 - chance)) * math.exp(bets.now)
    assert mean == pytest.approx(1)


def test_a_mean_on_the_line_is_no_gain():
    mean = 0.0
    for values in itertools.product((0.0, 1.0), repeat=8):
        line = LineBets()
        bets = Bets(0.05, line.prior)
        # the mean is 0.3, and so is the line
        bets.follow(line(0.3 - np.asarray(values), np.full(8, 0.7)))
        mean += math.prod(0.3 if value else 0.7 for value in values) * math.exp(bets.now)
    assert mean == pytest.approx(1)


def test_turning_bad_after_long_is_seen():
    random = np.random.default_rng(3)
    bets = EventBets(0.05, (1.0, 2.0, 1.5, 0.5))
    ratios = np.asarray([2.0, 4.0, 8.0, 20.0])
    for _ in range(500):
        bets.add(bool(random.random() < 0.1), 0.1, ratios)
    assert not bets.shown
    for _ in range(80):
        bets.add(bool(random.random() < 0.36), 0.1, ratios)
    assert bets.shown


def test_what_is_won_beyond_the_goal_is_given_away():
    line = LineBets()
    bets = TemperedBets(0.05, line.prior)
    for _ in range(50):
        bets.follow_tempered(line(np.full(100, 0.5), np.full(100, 0.5)), 1.0)
    assert bets.progress == 1
    bets.follow_tempered(line(np.full(10, -0.4), np.full(10, 0.5)), 1.0)
    assert bets.progress < 1


def test_a_key_is_tossed_once_and_again_when_the_weight_grows():
    epochs = Epochs()
    first = epochs.of(0.05, 0.0)
    keys = FirstTime(epochs)
    assert keys.chances([1, 2, 1, 2], [False, True, False, True], [first] * 4).tolist() == [0.05, 0.05, 0, 0]
    second = epochs.of(0.25, 100.0)
    again = keys.chances([1, 2, 3], [False, True, True], [second] * 3).tolist()
    assert again == pytest.approx([0.2 / 0.95, 0, 0.25])
    # a request that began under the old weight
    assert epochs.of(0.05, 130.0) == first
    assert epochs.of(0.05, 1_000.0) == second + 1


def test_keys_are_counted_at_each_doubling():
    epochs = Epochs()
    counts = Counts(epochs, 3)
    epoch = epochs.of(0.1, 0.0)
    assert [counts.hit(7, True, epoch) for _ in range(5)] == [(0, 0.1), (1, 0.1), None, (2, 0.1), None]


def test_too_many_keys_are_thinned_by_their_hash_alone():
    epochs = Epochs()
    epoch = epochs.of(0.5, 0.0)
    keys = FirstTime(epochs, capacity=1_000)
    random = np.random.default_rng(1)
    hashes = random.integers(0, 1 << 32, 10_000).tolist()
    for start in range(0, len(hashes), 100):
        part = hashes[start : start + 100]
        keys.chances(part, [False] * len(part), [epoch] * len(part))
    assert len(keys) <= 1_000
    assert all(keys.takes_part(key) == (key >> 7 & keys.mask == 0) for key in hashes)


def test_repeats_know_the_mean_of_a_key_and_how_alike_its_requests_are():
    epochs = Epochs()
    epoch = epochs.of(0.5, 0.0)
    random = np.random.default_rng(2)
    repeats = Repeats(epochs, 1)
    users, each, rate, correlation = 400, 16, 0.2, 0.1
    size = 1 / correlation - 1
    propensity = random.beta(rate * size, (1 - rate) * size, users)
    reached = [0] * len(LEVELS)
    sums = 0.0
    for _ in range(each):
        order = random.permutation(users)
        scores = (random.random(users) < propensity[order]).astype(float)[:, None]
        sums += scores.sum()
        means = repeats.add(order, np.zeros(users, bool), np.full(users, epoch), scores, np.full(1, rate))
        reached = [before + len(of.scores) for before, of in zip(reached, means, strict=True)]
        if len(means[1].scores):
            assert means[1].scores.mean() == pytest.approx(sums / users / each)
    assert reached == [users, users, 0]
    assert repeats.dispersion()[0] == pytest.approx(1 + (each - 1) * correlation, rel=0.25)
