"""A candidate judged from outcomes: within, beyond, undecided or missing, and nothing lost by a dump."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_rollout.analysis import Analysis, Outcome, Pair, Verdict

SEED = 20


def outcomes(
    count: int, *, errors: float = 0.01, slower: float = 1.0, weight: float = 0.2, at: float = 0.0
) -> list[Outcome]:
    """Requests of keys of their own: 1% errors on the baseline, and lognormal latencies around 100 ms."""
    random = np.random.default_rng(SEED)
    made = []
    for place in range(count):
        candidate = bool(random.random() < weight)
        failed = bool(random.random() < (errors if candidate else 0.01))
        total = float(np.exp(0.5 * random.normal())) * 100 * (slower if candidate else 1.0)
        made.append(
            Outcome(
                "candidate" if candidate else "baseline",
                f"user-{place}",
                at + place / 10,
                weight,
                "error" if failed else None,
                total_ms=None if failed else total,
                segment={"tenant": f"team-{place % 4}"},
            )
        )
    return made


def judged(spec: Spec, seen: list[Outcome]) -> dict[str, Verdict]:
    analysis = Analysis(spec)
    for outcome in seen:
        analysis.observe(outcome)
    return {verdict.metric: verdict for verdict in analysis.verdicts(seen[-1].at)}


def test_a_candidate_like_the_baseline_is_within_its_margins():
    found = judged(Spec(), outcomes(12_000))
    assert {verdict.state for verdict in found.values()} == {"within"}
    errors = found["errors"]
    assert errors.low is not None and errors.high is not None and errors.estimate is not None
    assert errors.low < errors.estimate < errors.high <= errors.margin == 0.01
    assert errors.n_baseline + errors.n_candidate == 12_000


def test_errors_are_beyond():
    found = judged(Spec(), outcomes(3_000, errors=0.06))
    assert found["errors"].state == "beyond"
    assert found["errors"].evidence == 1
    assert "worse than the baseline" in found["errors"].reason
    assert found["total"].state != "beyond"


def test_slowness_is_beyond():
    found = judged(Spec(), outcomes(1_500, slower=1.5))
    assert found["total"].state == "beyond"
    assert found["total"].low is not None and found["total"].low >= 0.1
    assert found["errors"].state != "beyond"


def test_a_candidate_is_undecided_at_first():
    found = judged(Spec(), outcomes(200))
    assert {verdict.state for verdict in found.values()} == {"undecided"}


def test_no_traffic_and_a_metric_that_stops_are_missing():
    analysis = Analysis(Spec.model_validate({"missing_after": "5m", "ttft": {}}))
    analysis.begin(0)
    assert {verdict.state for verdict in analysis.verdicts(299)} == {"undecided"}
    assert {verdict.state for verdict in analysis.verdicts(301)} == {"missing"}
    for outcome in outcomes(4_000):
        analysis.observe(outcome)
    assert {verdict.metric for verdict in analysis.verdicts(400) if verdict.state == "missing"} == {"ttft"}


def test_harm_to_one_tenant_is_seen():
    spec = Spec.model_validate({"segments": ["tenant"], "total": None})
    seen = []
    for outcome in outcomes(4_000, errors=0.01):
        broken = outcome.segment["tenant"] == "team-2" and outcome.arm == "candidate"
        seen.append(
            Outcome(**{name: getattr(outcome, name) for name in outcome.__slots__} | {"failed": "error"})
            if broken
            else outcome
        )
    found = judged(spec, seen)
    assert found["errors[tenant=team-2]"].state == "beyond"
    assert not [metric for metric in found if metric.startswith("errors[") and "team-2" not in metric]


@pytest.mark.parametrize("worse", [0.0, 0.3])
def test_pairs(worse: float):
    random = np.random.default_rng(SEED)
    analysis = Analysis(Spec.model_validate({"errors": None, "failures": None, "total": None, "pairs": {"exact": {}}}))
    for place in range(2_000):
        good, change = random.random() < 0.8, random.random()
        candidate = good and change > worse
        analysis.observe_pair(Pair("exact", f"user-{place}", place, float(good), float(candidate)))
    (verdict,) = analysis.verdicts(2_000)
    assert verdict.paired
    assert verdict.state == ("beyond" if worse else "within")


def rated(seen: list[Outcome], worse: float) -> list[Outcome]:
    """Feedback on outcomes, an hour later: good in 4 of 5, and in fewer on the candidate by `worse`."""
    random = np.random.default_rng(SEED)
    made = []
    for outcome in seen:
        good = random.random() < 0.8 - (worse if outcome.arm == "candidate" else 0.0)
        made.append(
            Outcome(outcome.arm, outcome.key, outcome.at + 3600, outcome.weight, scores={"feedback": float(good)})
        )
    return made


@pytest.mark.parametrize(("worse", "state"), [(0.0, "within"), (0.3, "beyond")])
def test_what_people_say_later_counts_as_a_score_alone(worse: float, state: str):
    analysis = Analysis(Spec.model_validate({"total": None, "scores": {"feedback": {"max_decrease": "10%"}}}))
    seen = outcomes(3_000)
    for outcome in seen:
        analysis.observe(outcome)
    # the weight has grown meanwhile
    for outcome in outcomes(200, weight=0.5, at=3500.0):
        analysis.observe(outcome)
    before = {verdict.metric: verdict for verdict in analysis.verdicts(3600)}
    for rating in rated(seen, worse):
        analysis.observe_rating(rating)
    after = {verdict.metric: verdict for verdict in analysis.verdicts(3900)}
    assert after["scores.feedback"].state == state
    assert after["scores.feedback"].n_baseline + after["scores.feedback"].n_candidate == 3_000
    assert after["errors"].n_candidate == before["errors"].n_candidate
    assert after["errors"].evidence == before["errors"].evidence


def said(seen: list[Outcome], worse: float, *, baseline: float, candidate: float) -> set[str]:
    """All that is ever known while people rate a share of either arm's answers, with a margin of ten points."""
    spec = {"errors": None, "failures": None, "total": None, "scores": {"feedback": {"max_decrease": "10%"}}}
    analysis, random = Analysis(Spec.model_validate(spec)), np.random.default_rng(SEED + 1)
    for outcome in seen:
        analysis.observe(outcome)
    known: set[str] = set()
    for place, rating in enumerate(rated(seen, worse)):
        if random.random() < (candidate if rating.arm == "candidate" else baseline):
            analysis.observe_rating(rating)
        if place % 50 == 0:
            known.add(analysis.states(None)["scores.feedback"])
    return known


@pytest.mark.parametrize(("baseline", "candidate"), [(1, 0.3), (0.3, 1)])
def test_how_often_people_say_something_of_an_arm_is_neither_harm_nor_good(baseline: float, candidate: float):
    assert said(outcomes(12_000), 0.0, baseline=baseline, candidate=candidate) == {"undecided", "within"}
    assert said(outcomes(12_000), 0.2, baseline=baseline, candidate=candidate) == {"undecided", "beyond"}


def test_a_candidate_of_which_nobody_says_anything_is_neither_harmful_nor_good():
    assert said(outcomes(3_000, weight=0.3), 0.0, baseline=1, candidate=0) == {"undecided"}


def test_feedback_on_a_weight_that_was_never_judged_is_left_out():
    analysis = Analysis(Spec.model_validate({"scores": {"feedback": {}}}))
    seen = outcomes(300)
    for outcome in seen:
        analysis.observe(outcome)
    for rating in rated(outcomes(100, weight=0.9), 0.0):
        analysis.observe_rating(rating)
    found = {verdict.metric: verdict for verdict in analysis.verdicts(60)}
    assert found["scores.feedback"].n_candidate == 0


def test_a_dump_goes_on_as_if_nothing_had_happened():
    spec = Spec.model_validate({"segments": ["tenant"], "cost": {}, "scores": {"thumbs": {}}})
    seen = outcomes(1_500, errors=0.03)
    whole, cut = Analysis(spec), Analysis(spec)
    for place, outcome in enumerate(seen):
        whole.observe(outcome)
        cut.observe(outcome)
        if place % 500 == 250:
            whole.verdicts(outcome.at)
            cut.verdicts(outcome.at)
            cut = Analysis.load(spec, json.loads(json.dumps(cut.dump())))
    for before, after in zip(whole.verdicts(999), cut.verdicts(999), strict=True):
        assert before.state == after.state
        assert before.evidence == pytest.approx(after.evidence, rel=1e-3)
        assert before.n_candidate == after.n_candidate


def test_a_state_of_another_spec_is_refused():
    with pytest.raises(ValueError, match="other metrics"):
        Analysis.load(Spec(), Analysis(Spec.model_validate({"cost": {}})).dump())
    with pytest.raises(ValueError, match="no state"):
        Analysis.load(Spec(), {})
