"""Drift: the tests themselves, what is called drift, and who is told."""

from __future__ import annotations

import random

import numpy
import pytest
from scipy import stats

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc import Identity
from headrace_tracing.adapters.memory import MemoryProfileStore
from headrace_tracing.domain import drifting
from headrace_tracing.domain.drift import Limits, Window, judged
from headrace_tracing.domain.drift_asked import DriftAsked, DriftQuestions, date_of, day_of
from headrace_tracing.domain.drift_watch import DriftWatch, Watching
from headrace_tracing.domain.profiles import DAY_S, FEATURES, Profile

TODAY = 20_000
NOW, BEFORE = Window(TODAY - 1, TODAY - 1), Window(TODAY - 8, TODAY - 2)


def days(counts: dict[str, int], *, last: dict[str, int] | None = None, **names) -> list[Profile]:
    """Eight days of the same counts, or another last day."""
    who = {"tenant": "red", "model": "assistant", "collection": "", "feature": "language", **names}
    made = [Profile(day=TODAY - 8 + n, counts=counts, **who) for n in range(7)]
    return [*made, Profile(day=TODAY - 1, counts=last or counts, **who)]


@pytest.mark.parametrize(("statistic", "degrees"), [(0.1, 1), (3.84, 1), (12.0, 9), (90.0, 31), (400.0, 31), (0.0, 4)])
def test_the_tail_of_chi_square_is_scipys(statistic, degrees):
    assert drifting.chi_square_tail(statistic, degrees) == pytest.approx(stats.chi2.sf(statistic, degrees), rel=1e-9)


def test_chi_square_is_scipys_and_takes_rare_kinds_together():
    now, before = [40, 60, 25], [300, 390, 110]
    assert drifting.chi_square(now, before) == pytest.approx(stats.chi2_contingency([now, before]).pvalue)
    rare = drifting.chi_square([40, 60, 25, 1, 0], [300, 390, 110, 0, 1])
    assert rare == pytest.approx(stats.chi2_contingency([[*now, 1], [*before, 1]]).pvalue)
    assert drifting.chi_square([100], [10]) == drifting.chi_square([], []) == 1.0


def test_kolmogorov_smirnov_is_scipys_to_the_approximation():
    draw = numpy.random.default_rng(7)
    for shift in (0.0, 0.05, 0.2):
        now, before = draw.normal(shift, 1, 700), draw.normal(0, 1, 3000)
        edges = numpy.linspace(-4, 4, 4001)
        binned = [numpy.histogram(numpy.clip(of, -3.999, 3.999), edges)[0].tolist() for of in (now, before)]
        assert drifting.kolmogorov_smirnov(*binned) == pytest.approx(stats.ks_2samp(now, before).pvalue, abs=0.02)
    assert drifting.kolmogorov_smirnov([], []) == drifting.kolmogorov_smirnov([0, 3], [0, 0]) == 1.0


def test_corrected_p_values_are_scipys():
    p_values = [0.001, 0.04, 0.03, 0.5, 0.9, 0.0004]
    assert drifting.adjusted(p_values) == pytest.approx(list(stats.false_discovery_control(p_values)))
    assert drifting.adjusted([]) == []


def test_chance_alone_makes_no_psi():
    draw = random.Random(3)
    means = []
    for _ in range(200):
        now, before = ([draw.choices(range(32), k=n).count(bin_) for bin_ in range(32)] for n in (150, 1000))
        means.append(drifting.psi(now, before))
    assert sum(means) / len(means) < 0.05
    assert drifting.psi([90, 10], [10, 90]) > 1
    assert drifting.psi([0, 0], [1, 2]) == 0.0


def test_a_change_of_languages_is_drift_and_a_small_one_is_not():
    changed = days({"en": 180, "de": 20}, last={"en": 100, "de": 100})
    slightly = days({"en": 9000, "de": 1000}, last={"en": 8800, "de": 1200}, model="big")
    few = days({"en": 20, "de": 2}, last={"en": 2, "de": 20}, model="small")
    found = judged([*few, *slightly, *changed], NOW, BEFORE, Limits())
    assert [(one.model, one.drifted) for one in found if one.drifted] == [("assistant", True)]
    by_model = {one.model: one for one in found}
    assert by_model["big"].q_value < 0.01 and by_model["big"].psi < 0.2, "more than chance, and not enough to matter"
    assert by_model["small"].p_value is None and by_model["small"].q_value is None
    one = by_model["assistant"]
    assert (one.test, one.count, one.reference_count) == ("chi-square", 200, 1400)
    assert one.bins == (("de", 100, 140), ("en", 100, 1260))
    assert [day for day, _, _ in one.days] == list(range(TODAY - 8, TODAY))
    assert one.days[-1][2] == one.psi and one.days[0][2] == 0.0


def test_numbers_are_tested_in_their_order():
    shifted = days({"3": 150, "4": 50}, last={"5": 150, "6": 50}, feature="input_chars")
    (one,) = judged(shifted, NOW, BEFORE, Limits())
    assert (one.test, one.drifted) == ("kolmogorov-smirnov", True)
    assert len(one.bins) == len(FEATURES["input_chars"].edges) + 1
    assert FEATURES["input_chars"].bounds("0") == (None, 8.0)
    assert FEATURES["input_chars"].bounds("3") == (32.0, 64.0)
    assert FEATURES["input_chars"].bounds("13") == (2.0**15, None)
    assert FEATURES["language"].bounds("en") == (None, None)


def test_among_many_groups_without_a_change_alarms_are_as_rare_as_is_said():
    draw = numpy.random.default_rng(11)
    looks, alarms, mattering = 100, 0, 0
    for _ in range(looks):
        same = []
        for model in range(40):
            for feature, shares in (("language", (0.8, 0.15, 0.05)), ("refused", (0.95, 0.05))):
                for day, requests in ((TODAY - 1, 150), (TODAY - 2, 1050)):
                    counts = dict(zip("abc", draw.multinomial(requests, shares).tolist(), strict=False))
                    same.append(Profile(day, "red", f"m{model}", "", feature, counts))
        found = judged(same, NOW, BEFORE, Limits(psi=0.0, alpha=0.05))
        assert len(found) == 80 and min(one.p_value for one in found) < 0.1, "some look so by themselves"
        alarms += any(one.drifted for one in found)
        mattering += any(one.drifted and one.psi >= Limits().psi for one in found)
    assert 0 < alarms <= 12, "about one look in twenty, at alpha 0.05"
    assert mattering == 0


def test_a_group_that_is_gone_and_one_that_is_new_are_no_tests():
    gone = [profile for profile in days({"en": 500}, model="gone") if profile.day < TODAY - 1]
    new = [profile for profile in days({"en": 500}, model="new") if profile.day == TODAY - 1]
    found = judged([*gone, *new], NOW, BEFORE, Limits())
    assert [(one.model, one.p_value, one.drifted) for one in found] == [("new", None, False)]


async def test_the_watch_counts_each_day_twice_and_tells_what_drifted(metrics, registry):
    store = MemoryProfileStore(days({"en": 180, "de": 20}, last={"en": 100, "de": 100}))
    now = TODAY * DAY_S + 5.0
    watch = DriftWatch(store, metrics, Watching, now_s=lambda: now)
    labels = {"tenant": "red", "model": "assistant", "collection": "", "feature": "language"}
    await watch.look()
    assert store.days == {day: day < TODAY - 1 for day in range(TODAY - 8, TODAY)}
    assert registry.get_sample_value("headrace_tracing_drifted", labels) > 0.2
    assert registry.get_sample_value("headrace_tracing_drift_tests") == 1
    now += DAY_S
    await watch.look()
    assert store.days[TODAY - 1], "a day after, with the feedback that came late"
    assert registry.get_sample_value("headrace_tracing_drifted", labels) is None, "no alarm for ever"
    now += 200 * DAY_S
    await watch.look()
    assert store.kept == []


def who(tenant: str = "red", *scopes: str) -> Identity:
    return Identity("gateway", tenant, key_id="k", scopes=frozenset(scopes))


async def asked(questions: DriftQuestions, identity: Identity | None = None, **fields):
    return await questions.drift(DriftAsked(**fields), identity or who())


async def test_drift_is_asked_by_tenant_model_and_days():
    store = MemoryProfileStore()
    store.kept = [
        *days({"en": 180, "de": 20}, last={"en": 100, "de": 100}),
        *days({"en": 180, "de": 20}, tenant="blue"),
        *days({"0": 190, "1": 10}, feature="refused", collection="handbook"),
    ]
    questions = DriftQuestions(store, Watching, lambda: TODAY * DAY_S + 1.0)
    own = await asked(questions)
    assert (len(own.found), own.tests, own.now, own.before) == (2, 2, NOW, BEFORE)
    assert {one.tenant for one in own.found} == {"red"}
    assert len((await asked(questions, who("", "admin"))).found) == 3
    assert [one.feature for one in (await asked(questions, collection="handbook")).found] == ["refused"]
    assert [one.feature for one in (await asked(questions, drifted=True)).found] == ["language"]
    first = await asked(questions, limit=1)
    assert first.more and first.found[0].drifted
    whole = await asked(
        questions, day=date_of(TODAY - 1), days=2, reference_from=date_of(TODAY - 8), reference_to=date_of(TODAY - 3)
    )
    assert whole.found[0].count == 400 and whole.before == Window(TODAY - 8, TODAY - 3)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"feature": "mood"}, "feature"),
        ({"day": "yesterday"}, "day"),
        ({"day": "1969-12-31"}, "day"),
        ({"days": 91}, "days"),
        ({"limit": 1001}, "limit"),
        ({"reference_from": "2024-01-01"}, "reference_to"),
        ({"reference_to": "2024-01-01"}, "reference_from"),
        ({"reference_from": "2024-02-01", "reference_to": "2024-01-01"}, "reference_to"),
        ({"day": "2024-03-01", "reference_from": "2024-02-01", "reference_to": "2024-03-01"}, "reference_to"),
        ({"day": "2024-03-01", "reference_from": "2020-02-01", "reference_to": "2020-02-02"}, "reference_from"),
        ({"model": "a\0b"}, "model"),
    ],
)
async def test_what_cannot_be_asked_is_told_so(fields, param):
    questions = DriftQuestions(MemoryProfileStore(), Watching, lambda: TODAY * DAY_S)
    with pytest.raises(BadInput) as caught:
        await asked(questions, **fields)
    assert caught.value.param == param


async def test_other_tenants_are_not_asked_about():
    questions = DriftQuestions(MemoryProfileStore(), Watching, lambda: TODAY * DAY_S)
    for identity, fields in ((who(), {"tenant": "blue"}), (who(""), {})):
        with pytest.raises(Forbidden):
            await asked(questions, identity, **fields)


def test_dates_and_days():
    assert (day_of("1970-01-02", "day"), date_of(1)) == (1, "1970-01-02")
