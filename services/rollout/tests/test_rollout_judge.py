"""A model that compares answers of both arms, and errs: it is checked against people, and its errors are counted in."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from pydantic import ValidationError

from headrace_evals.agreement import Agreement
from headrace_evals.fakes import FakePlatform
from headrace_evals.suite import Label
from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_rollout.analysis import Analysis, Pair
from headrace_rollout.analysis.keys import hash_of
from headrace_rollout.domain.calibrating import Calibrating, Labels
from headrace_rollout.domain.records import State
from headrace_rollout.domain.verdicts import Action
from headrace_rollout.grpc_api import _grant
from headrace_rollout.ports import CALIBRATION, Claim

GOOD = Agreement(right=54, tie=4, wrong=2, ties_kept=10)
POOR = Agreement(right=220, tie=60, wrong=80)
"""It decides 300 of 360, and 80 of them the wrong way round: its gain is 0.39."""

COUNT = 60
LABELS = [
    Label("which?", *(("good", f"bad {n}") if n % 2 else (f"bad {n}", "good")), "a" if n % 2 else "b")
    for n in range(COUNT)
]
ALONE = {"errors": None, "failures": None, "total": None, "pairs": {"judge": {"max_decrease": "10%"}}}
JUDGE = {"model": "referee", "labels": "labels.jsonl", "tenant": "dev"}
STEPS = [{"shadow": "50%", "at_least": "10s"}, {"weight": "5%", "at_least": "10s"}, {"weight": "100%"}]
LIVE = ALONE | {"missing_after": "60s", "missing_limit": "120s"}
SWAP = {"candidate": {"deployment": "large"}, "steps": STEPS, "analysis": LIVE, "shadow": {"judge": JUDGE}}


def spec(margin: str = "10%") -> Spec:
    return Spec.model_validate(ALONE | {"pairs": {"judge": {"max_decrease": margin}}})


def said(random: np.random.Generator, preferred: np.ndarray, right: float, wrong: float) -> np.ndarray:
    """What a judge makes of people's preferences (1 the candidate, -1 the baseline, 0 neither)."""
    luck = random.random(len(preferred))
    return np.where(luck < right, preferred, np.where(luck < right + wrong, -preferred, 0))


def judged(
    random: np.random.Generator, analysis: Analysis, pairs: int, worse_by: float, right: float, wrong: float
) -> str:
    """The state after so many pairs of keys of their own, of which people decide six in ten."""
    odds = [(0.6 - worse_by) / 2, (0.6 + worse_by) / 2, 0.4]
    found = said(random, random.choice((1, -1, 0), size=pairs, p=odds), right, wrong)
    keys = np.asarray([hash_of(f"u{n}") for n in range(pairs)], np.int64)
    analysis.feed_pairs("judge", keys, np.arange(pairs, dtype=float), (1 - found) / 2, (1 + found) / 2)
    return analysis.verdicts(float(pairs))[0].state


def calibrated(random: np.random.Generator, labels: int, right: float, wrong: float) -> Agreement:
    return Agreement(*map(int, random.multinomial(labels, (right, 1 - right - wrong, wrong))))


def test_a_candidate_no_worse_is_not_rolled_back_and_one_beyond_its_margin_does_not_pass():
    random, plays, alpha = np.random.default_rng(3), 300, 0.05
    harmed = passed = 0
    for _ in range(plays):
        same, worse = Analysis(spec()), Analysis(spec())
        for one in (same, worse):
            one.calibrate(calibrated(random, 80, 0.7, 0.15))
        harmed += judged(random, same, 3_000, 0.0, 0.7, 0.15) == "beyond"
        passed += judged(random, worse, 3_000, 0.101, 0.7, 0.15) == "within"
    assert harmed <= alpha * plays
    assert passed <= alpha * plays


def test_errors_of_the_judge_hide_a_loss_unless_they_are_counted_in():
    """A judge with a gain of 0.39 shows a loss of 20 points as one of 8: less than the margin of 10."""
    random, perfect = np.random.default_rng(4), Agreement(right=100_000)
    trusted, checked = Analysis(spec()), Analysis(spec())
    trusted.calibrate(perfect)
    checked.calibrate(POOR)
    assert judged(np.random.default_rng(4), trusted, 30_000, 0.2, 0.61, 0.22) == "within"
    assert judged(random, checked, 30_000, 0.2, 0.61, 0.22) == "beyond"


def test_estimates_are_in_peoples_terms():
    random, analysis = np.random.default_rng(5), Analysis(spec())
    analysis.calibrate(POOR)
    judged(random, analysis, 30_000, 0.2, 0.61, 0.22)
    [verdict] = analysis.verdicts(30_000.0)
    assert verdict.estimate == pytest.approx(0.2, abs=0.03)
    assert verdict.low < 0.2 < verdict.high
    assert "right in 220 and wrong in 80 of 360 comparisons that people decided" in verdict.reason


def test_good_candidates_pass():
    analysis = Analysis(spec())
    analysis.calibrate(GOOD)
    assert judged(np.random.default_rng(6), analysis, 5_000, -0.05, 0.9, 0.03) == "within"


@pytest.mark.parametrize("found", [None, Agreement(), Agreement(right=5, wrong=5), Agreement(right=3)])
def test_a_judge_that_is_not_shown_to_be_better_than_a_coin_counts_for_nothing(found):
    analysis = Analysis(spec())
    analysis.calibrate(found, "labels.jsonl: there is no such file")
    analysis.begin(0.0)
    state = judged(np.random.default_rng(7), analysis, 3_000, 0.5, 0.9, 0.03)
    assert state == "missing", "missing data is no good news"
    [verdict] = analysis.verdicts(3_000.0)
    assert verdict.n_candidate == 0
    expected = "no such file" if found is None else "not shown to be better than a coin"
    assert expected in verdict.reason


def test_comparisons_that_fail_are_no_evidence_of_harm_and_keep_a_candidate_from_passing():
    def after(failing: int) -> str:
        analysis = Analysis(spec())
        analysis.calibrate(GOOD)
        for number in range(1_500):
            analysis.observe_pair(Pair("judge", f"u{number}", number, 0.5, 0.5))
        for number in range(failing):
            analysis.observe_pair(Pair("judge", f"f{number}", 1_500, 0.0, 0.0, failed=True))
        [verdict] = analysis.verdicts(1_500.0)
        assert f"{failing} of {1_500 + failing} without a verdict" in verdict.reason
        return verdict.state

    assert after(0) == "within"
    assert after(500) == "undecided"


def test_other_graders_leave_failures_out():
    analysis = Analysis(Spec.model_validate(ALONE | {"pairs": {"json": {}}}))
    analysis.observe_pair(Pair("json", "u", 1.0, 0.0, 0.0, failed=True))
    assert analysis.verdicts(2.0)[0].n_candidate == 0


def test_all_that_is_known_of_a_judge_is_kept():
    analysis = Analysis(spec())
    analysis.calibrate(GOOD)
    analysis.observe_pair(Pair("judge", "f", 0.0, 0.0, 0.0, failed=True))
    judged(np.random.default_rng(8), analysis, 300, 0.1, 0.9, 0.03)
    again = Analysis.load(spec(), json.loads(json.dumps(analysis.dump())))
    assert again.verdicts(300.0) == analysis.verdicts(300.0)
    again.calibrate(POOR)
    assert again.verdicts(300.0) == analysis.verdicts(300.0), "the first calibration stays"


def test_a_config_names_a_judge_that_it_has(world):
    for judge, where in [({"model": "refere"}, "referee"), ({"labels": ""}, "labels"), ({"share": "0%"}, "share")]:
        with pytest.raises(ValidationError, match=where):
            world.asks(SWAP | {"shadow": {"judge": JUDGE | judge}})
    with pytest.raises(ValidationError, match=r"name a model in shadow\.judge"):
        world.asks(SWAP | {"shadow": {}})


async def test_labels_that_cannot_be_read_are_refused_with_the_field(world):
    with pytest.raises(BadInput, match="no such file") as refused:
        await world.operations.start("assistant", json.dumps(SWAP), world.admin)
    assert refused.value.param == "spec_json.shadow.judge.labels"
    world.comparisons["labels.jsonl"] = LABELS
    await world.operations.start("assistant", json.dumps(SWAP), world.admin)


def referee(arm, words: str) -> str:
    first = words.split("[answer A")[1].split("[answer B")[0]
    return json.dumps({"better": "A" if "good" in first else "B"})


class Judging:
    """A replica that checks judges, beside the controller."""

    def __init__(self, world, says=referee, owner: str = "one") -> None:
        world.store.suites.clock = lambda: world.now_s
        world.comparisons.setdefault("labels.jsonl", LABELS)
        self.world, self.platform = world, FakePlatform(says)
        self.calibrating = Calibrating(
            world.store.suites,
            Labels(world.labels, lambda tenant: self.platform),
            owner,
            world.controller.wake,
            again_s=0.001,
        )

    def known(self, id_: str):
        return self.world.store.suites.calibrations([id_]).get(id_)

    async def until(self, holds) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await self.world.pass_time(0.1)
                self.calibrating.follow(list(self.world.store.records.values()))
                await asyncio.sleep(0.001)

    async def flow(self, id_: str, seconds: int, candidate: float | None, per_second: int = 20) -> None:
        """Pairs of which the candidate gets this score, or that fail."""
        for second in range(seconds):
            if self.world.record(id_).state is not State.RUNNING or self.world.record(id_).step:
                return
            for number in range(per_second):
                event = RequestEvent(
                    kind=RequestEvent.KIND_FINISHED,
                    log_id="log-1",
                    sequence=1 + second * per_second + number,
                    unit=f"u{second}-{number}",
                    rollout_id=id_,
                    shadow=True,
                    arm="candidate",
                )
                if candidate is None:
                    event.pairs.add(metric="judge", failed=True)
                else:
                    event.pairs.add(metric="judge", baseline=1 - candidate, candidate=candidate)
                event.time.FromDatetime(self.world.store.time)
                self.world.events.add(event.SerializeToString(), self.world.store.time.timestamp())
            await self.world.pass_time(1, look_every_s=1)


@pytest.fixture
async def judging(world, request):
    made = Judging(world, getattr(request, "param", referee))
    yield made
    await made.calibrating.stop()


async def test_the_judge_makes_the_comparisons_that_people_made_once(world, judging):
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).state == "passed")
    assert judging.known(id_).checks == ({"right": COUNT, "tie": 0, "wrong": 0, "ties_kept": 0, "ties_lost": 0},)
    assert len(judging.platform.asked) == 2 * COUNT
    assert {arm.model for arm, _, _ in judging.platform.asked} == {"referee"}
    assert world.store.suites.last([id_]) == {}, "it is no evaluation of a step"
    other = Judging(world, owner="two")
    other.calibrating.follow(list(world.store.records.values()))
    await asyncio.sleep(0.01)
    await other.calibrating.stop()
    assert other.platform.asked == []


async def test_what_was_compared_before_a_crash_is_not_asked_again(world, judging):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    stopping = Judging(world, owner="first")
    say = stopping.platform._says

    def dies(arm, words):
        if len(stopping.platform.asked) == 21:
            raise asyncio.CancelledError
        return say(arm, words)

    stopping.platform._says = dies
    stopping.calibrating.follow(list(world.store.records.values()))
    await asyncio.wait(stopping.calibrating._tasks.values())
    assert judging.known(id_).done == 10
    await world.pass_time(20)
    await judging.until(lambda: judging.known(id_).state == "passed")
    assert len(judging.platform.asked) == 2 * (COUNT - 10)


async def test_a_candidate_that_the_judge_likes_goes_on(world, judging):
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).state == "passed")
    await judging.flow(id_, 100, candidate=1.0)
    assert world.record(id_).step == 1
    advance = next(entry for entry in world.store.decisions if entry.action is Action.ADVANCE)
    assert "right in 60 and wrong in 0 of 60" in advance.verdicts[0]["reason"]


async def test_a_candidate_that_the_judge_likes_less_is_rolled_back_before_anybody_is_on_it(world, judging):
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).state == "passed")
    await judging.flow(id_, 100, candidate=0.0)
    assert world.record(id_).state is State.ROLLED_BACK
    assert "pairs.judge" in world.record(id_).reason
    assert max(entry.record.weight for entry in world.store.transitions) == 0


@pytest.mark.parametrize(
    "judging", [lambda arm, words: '{"better": "A"}', lambda arm, words: "who knows"], indirect=True
)
async def test_a_judge_that_cannot_tell_holds_the_step_and_then_it_is_rolled_back(world, judging):
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).state == "passed")
    await judging.flow(id_, 50, candidate=1.0)
    assert world.record(id_).step == 0 and "not shown to be better than a coin" in world.record(id_).holds
    await judging.flow(id_, 400, candidate=1.0)
    assert world.record(id_).state is State.ROLLED_BACK
    assert "nothing was known of pairs.judge for 120 s" in world.record(id_).reason


async def test_a_judge_that_fails_on_live_answers_holds_the_step_and_then_it_is_rolled_back(world, judging):
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).state == "passed")
    await judging.flow(id_, 400, candidate=None)
    assert world.record(id_).state is State.ROLLED_BACK
    assert "nothing was known of pairs.judge" in world.record(id_).reason


async def test_a_platform_that_is_away_is_told_and_asked_again(world, judging):
    judging.platform.away = True
    id_ = world.asks(SWAP)
    await judging.until(lambda: judging.known(id_) is not None and judging.known(id_).why)
    await judging.flow(id_, 15, candidate=1.0)
    assert "nothing answers" in world.record(id_).holds
    judging.platform.away = False
    await judging.until(lambda: judging.known(id_).state == "passed")


async def test_another_replicas_check_is_left_alone(world, judging):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    assert await world.store.suites.claim(id_, CALIBRATION, "judge", Claim("other", 15.0, "x", 1)) == {}
    judging.calibrating.follow(list(world.store.records.values()))
    await asyncio.sleep(0.01)
    assert judging.platform.asked == []


async def test_gateways_are_told_who_judges(world):
    world.comparisons["labels.jsonl"] = LABELS
    world.asks(SWAP | {"shadow": {"judge": JUDGE | {"criteria": "Short?", "share": "25%", "usd_per_hour": 0.5}}})
    await world.controller.tick()
    [split] = _grant(world.grants.current()).splits
    told = split.shadow_judge
    assert (told.model, told.criteria, told.share, told.nano_usd_per_hour) == ("referee", "Short?", 2500, 500_000_000)
