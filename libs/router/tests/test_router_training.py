"""Training on synthetic rows whose truth is known: prompts that say which deployment is good at them."""

import json
import random

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from headrace_router import file as format_
from headrace_router.training import curve, dataset, fit, learners, states, tune
from headrace_router.training.crossfit import crossfit, splits
from headrace_router.training.evaluate import evaluate, expected

OPTIONS = fit.Options(folds=3, states=4, tradeoffs=8)


def synthetic(count: int = 240, seed: int = 0, answers: bool = True) -> dataset.Dataset:
    """`small` is right on easy prompts and seldom on hard ones, `other` is like it, `large` is nearly always right."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        hard = rng.random() < 0.5
        truth = rng.choice("ABCD")
        chances = {"small": 0.25 if hard else 0.95, "other": 0.25 if hard else 0.9, "large": 0.95}
        right = {name: rng.random() < chance for name, chance in chances.items()}
        said = {name: truth if good else rng.choice([c for c in "ABCD" if c != truth]) for name, good in right.items()}
        words = "prove the lemma about integrals" if hard else "name the colour of the sky"
        rows.append(
            dataset.Row(
                prompt=f"{words} number {rng.randrange(1000)}\nA) one\nB) two\nC) three\nD) four\n",
                scores={name: float(good) for name, good in right.items()},
                costs={"small": 0.0001, "other": 0.00012, "large": 0.003},
                answers=said if answers else {},
                signals={"small": {"mean_logprob": rng.gauss(-0.1 if right["small"] else -0.6, 0.15)}},
                group="hard" if hard else "easy",
            )
        )
    return dataset.gather(rows, None, "0" * 64, "synthetic")


@pytest.fixture(scope="module")
def data():
    return synthetic()


@pytest.fixture(scope="module")
def trained(data):
    return fit.train(data, OPTIONS)


def test_the_same_seed_gives_the_same_file(data, trained):
    assert format_.dumps(fit.train(data, OPTIONS).router) == format_.dumps(trained.router)


def test_the_prior_tells_hard_prompts_from_easy_ones(trained):
    router = trained.router
    easy = router.expect("name the colour of the sky number 5\nA) one\nB) two\nC) three\nD) four\n")
    hard = router.expect("prove the lemma about integrals number 5\nA) one\nB) two\nC) three\nD) four\n")
    assert easy["small"] > 0.8 > 0.5 > hard["small"]
    assert hard["large"] > 0.8
    assert router.metadata["dataset"]["rows"] == 240
    assert (
        router.metadata["deployments"]["small"]["log_loss"]
        < 0.9 * router.metadata["deployments"]["small"]["log_loss_of_mean"]
    )


def test_it_beats_single_deployments_on_rows_that_it_never_saw(trained):
    fresh = synthetic(400, seed=9)
    played = evaluate(trained.router, fresh)
    points = curve.Curve("cascade", played.costs.mean(axis=1), played.scores.mean(axis=1))
    best = fresh.scores[:, 2].mean()
    assert points.cost_of(0.98 * best) < 0.7 * 0.003
    single = fresh.costs.mean(axis=0), fresh.scores.mean(axis=0)
    assert curve.area(points, *single) > curve.area(curve.linear(fresh.costs, fresh.scores), *single) + 3


def test_what_was_reported_out_of_fold_holds_on_fresh_rows(trained):
    fresh = evaluate(trained.router, synthetic(400, seed=5))
    assert np.abs(fresh.scores.mean(axis=1) - trained.scores.mean(axis=1)).max() < 0.12


def test_the_file_serves_as_the_trainer_evaluates(trained):
    """An `Episode` of the file read back goes the way that `play` went, row by row."""
    router, fresh = format_.loads(format_.dumps(trained.router)), synthetic(40, seed=3)
    fresh = fresh.only(router.deployments)
    played = evaluate(router, fresh)
    for place in (0, 3, 6):
        for number, row in enumerate(fresh.rows):
            episode = router.begin(row.prompt, tradeoff=float(router.plan.tradeoffs[place]))
            paid = 0.0
            while (step := episode.next()).ask is not None:
                episode.saw(step.ask, row.answers[step.ask], row.signals.get(step.ask, {}).get("mean_logprob"))
                paid += row.costs[step.ask]
            assert row.scores[step.answer] == played.scores[place, number]
            assert paid == pytest.approx(played.costs[place, number])


def test_rows_are_embedded_as_the_router_was_trained(trained):
    fresh = synthetic(50, seed=2)
    plain = evaluate(trained.router, fresh)
    embedded = fresh.embedded([[0.0, 1.0]] * 50)
    assert np.array_equal(evaluate(trained.router, embedded).scores, plain.scores)
    wants = dataset.replace(trained.router, dimensions=2)
    with pytest.raises(dataset.DatasetInvalid, match="2 numbers"):
        evaluate(wants, fresh)


def test_without_answers_it_only_routes():
    bare = synthetic(200, answers=False)
    router = fit.train(bare, OPTIONS).router
    played = evaluate(router, bare)
    assert {int(members).bit_count() for members in np.unique(played.asked)} == {1}
    quality = expected(router, bare)
    assert set(quality) == {0, 1, 2, 4}


def test_our_trees_give_what_scikit_learn_gives():
    rng = np.random.default_rng(0)
    x = rng.random((600, 5))
    x[rng.random(x.shape) < 0.2] = np.nan
    y = (np.nan_to_num(x[:, 0], nan=0.9) + rng.normal(0, 0.2, 600) > 0.6).astype(int)
    with threadpool_limits(1):
        fitted = HistGradientBoostingClassifier(max_iter=20, early_stopping=False, random_state=0).fit(x, y)
    fresh = rng.random((200, 5))
    fresh[rng.random(fresh.shape) < 0.2] = np.nan
    assert learners.exported(fitted)(fresh)[:, 0] == pytest.approx(fitted.predict_proba(fresh)[:, 1], abs=1e-12)


def test_a_score_between_right_and_wrong_counts_as_both():
    x, y, weight = learners.weighted(np.array([[1.0], [2.0]]), np.array([0.25, 1.0]))
    assert (x[:, 0].tolist(), y.tolist(), weight.tolist()) == ([1.0, 2.0, 1.0], [1.0, 1.0, 0.0], [0.25, 1.0, 0.75])


@pytest.mark.parametrize("rows", [100, 400])
def test_a_calibration_mends_what_is_too_sure(rows):
    rng = np.random.default_rng(1)
    truth = rng.random(rows)
    scores = (rng.random(rows) < truth).astype(float)
    sure = np.clip(0.5 + 2.5 * (truth - 0.5), 0.02, 0.98)
    calibrated = learners.calibrated(sure, scores)(sure)
    assert fit.calibration_error(calibrated, scores) < fit.calibration_error(sure, scores)
    assert np.all(np.diff(calibrated[np.argsort(sure)]) >= 0)


def test_neighbours_and_the_mean_are_predictors_of_the_same_shape(data):
    features, scores = data.features(), data.scores
    for kind in learners.kinds(len(features), 0):
        predicted = kind.fit(features, scores)(features)
        assert predicted.shape == scores.shape, kind.name
        assert ((predicted >= 0) & (predicted <= 1)).all()


def test_a_deployment_that_is_dear_and_no_better_is_left_out(data):
    assert fit.shortlist(data, 3) == ["small", "other", "large"]
    assert fit.shortlist(data, 2) == ["small", "large"]
    worse = [
        dataset.replace(row, scores={**row.scores, "bad": 0.0}, costs={**row.costs, "bad": 0.002}) for row in data.rows
    ]
    assert "bad" not in fit.shortlist(dataset.gather(worse, None, "", ""), 5)


def test_splits_judge_every_row_once_and_spread_groups():
    data = synthetic(90)
    parts = list(splits(data, 3, 0))
    assert sorted(np.concatenate([rest for _, rest in parts]).tolist()) == list(range(90))
    hard = [sum(data.rows[row].group == "hard" for row in rest) for _, rest in parts]
    assert max(hard) - min(hard) <= 1


def test_crossfitted_rows_are_judged_by_routers_that_did_not_see_them():
    data = synthetic(100)
    lines = []
    table = crossfit(data, fit.Options(folds=2, states=2, tradeoffs=4), lines.append, folds=2)
    assert table.scores.shape == (4, 100)
    assert lines == ["fold 1 of 2", "fold 2 of 2"]


# Tuning


def test_the_threshold_keeps_the_target_on_rows_that_did_not_choose_it(data):
    table = tune.signal_table(data, ["small", "large"], "mean_logprob")
    tuned = tune.tune(table, tune.Target(most_loss=0.05))
    (threshold,) = tuned.value
    fresh = tune.signal_table(synthetic(4000, seed=4), ["small", "large"], "mean_logprob")
    signals = np.array([row.signals["small"]["mean_logprob"] for row in synthetic(4000, seed=4).rows])
    kept = signals >= threshold
    quality = (
        np.where(kept, fresh.single_scores[:, 0], fresh.single_scores[:, 1]).mean() / fresh.single_scores[:, 1].mean()
    )
    assert quality >= 0.95 - 0.01
    assert tuned.quality.low <= quality <= tuned.quality.high + 0.02
    assert tuned.cost.mean < 0.9


def test_a_budget_is_kept(data):
    table = tune.signal_table(data, ["small", "large"], "mean_logprob")
    tuned = tune.tune(table, tune.Target(most_usd=0.0015))
    assert tuned.usd.mean <= 0.0016
    with pytest.raises(tune.NoSetting, match="cheapest"):
        tune.tune(table, tune.Target(most_usd=0.00001))


def test_a_target_that_nothing_reaches_is_said():
    scores = np.full((1, 60), 0.5)
    table = tune.Table(((0.0,),), scores, scores, np.ones((60, 1)), np.ones((60, 1)))
    with pytest.raises(tune.NoSetting, match="least loss is 50"):
        tune.tune(table, tune.Target(most_loss=0.1))


@pytest.mark.parametrize(
    "target",
    [{}, {"most_loss": 0.1, "most_usd": 1}, {"most_loss": 1.5}, {"most_usd": 0}, {"most_loss": 0, "confidence": 1}],
)
def test_targets_that_mean_nothing_are_refused(target):
    with pytest.raises(dataset.DatasetInvalid):
        tune.Target(**target)


def test_signals_must_have_been_recorded(data):
    with pytest.raises(dataset.DatasetInvalid, match="margin"):
        tune.signal_table(data, ["small", "large"], "margin")


# Curves


def test_the_area_is_that_of_the_straight_line_between_two():
    costs, qualities = np.array([1.0, 3.0]), np.array([0.4, 0.8])
    line = curve.Curve("line", costs, qualities)
    assert curve.area(line, costs, qualities) == pytest.approx(60)
    assert curve.area(curve.Curve("late", costs[1:], qualities[1:]), costs, qualities) == pytest.approx(60)
    assert curve.area(curve.Curve("early", costs[:1], np.array([0.8])), costs, qualities) == pytest.approx(80)
    assert line.cost_of(0.6) == pytest.approx(2)
    assert line.cost_of(0.9) == float("inf")
    assert line.quality_at(2) == pytest.approx(0.6)


def test_the_hull_leaves_out_what_chance_mixing_beats():
    x, y = curve.hull(np.array([1.0, 2.0, 3.0, 3.0, 4.0]), np.array([0.0, 0.1, 0.6, 0.5, 0.5]))
    assert (x.tolist(), y.tolist()) == ([1.0, 3.0], [0.0, 0.6])


def test_the_plot_is_an_svg_with_its_names_escaped(data):
    import xml.etree.ElementTree as tree

    text = curve.draw(
        [curve.linear(data.costs, data.scores)], [("<small>", 0.1, 0.5)], title="a & b", marks=[("m", 0.2, 0.6)]
    )
    root = tree.fromstring(text)
    assert root.tag.endswith("svg")
    assert "<small>" in "".join(root.itertext())


# Datasets


def test_json_lines_and_csv_say_the_same(tmp_path):
    lines = synthetic(60)
    dataset.write(lines.rows, tmp_path / "a.jsonl")
    read = dataset.read(tmp_path / "a.jsonl")
    assert read.rows == lines.rows
    names = read.deployments
    head = ["prompt", "group", *(f"{name}:{kind}" for name in names for kind in ("score", "cost", "answer"))]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        import csv

        writer = csv.writer(file)
        writer.writerow([*head, "small:mean_logprob"])
        for row in read.rows:
            cells = [cell for name in names for cell in (row.scores[name], row.costs[name], row.answers[name])]
            writer.writerow([row.prompt, row.group, *cells, row.signals["small"]["mean_logprob"]])
    assert dataset.read(tmp_path / "a.csv").rows == read.rows


GOOD = {"prompt": "p", "scores": {"a": 1, "b": 0}, "costs": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "a.jsonl:41: not JSON"),
        ("[]", ":41: it needs"),
        (json.dumps({**GOOD, "scores": {"a": 2}}), "scores: a must be a number from 0 to 1"),
        (json.dumps({**GOOD, "costs": {"a": -1}}), "costs: a must be"),
        (json.dumps({**GOOD, "scores": [1]}), "scores must map"),
        (json.dumps({**GOOD, "answers": {"a": 1}}), "answers must map"),
        (json.dumps({**GOOD, "embedding": ["x"]}), "embedding must be"),
        (json.dumps({**GOOD, "score": 1}), "unknown field 'score'"),
        ('{"prompt": "p", "scores": {"a": NaN}}', "must be a number"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path, line, said):
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(GOOD)] * 40 + [line]))
    with pytest.raises(dataset.DatasetInvalid, match=said):
        dataset.read(tmp_path / "a.jsonl")


def test_a_dataset_that_is_too_small_or_of_one_deployment_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD))
    with pytest.raises(dataset.DatasetInvalid, match="40 are needed"):
        dataset.read(tmp_path / "a.jsonl")
    with pytest.raises(dataset.DatasetInvalid, match="'c'"):
        dataset.read(tmp_path / "a.jsonl", ["a", "c"])
    with pytest.raises(dataset.DatasetInvalid, match="two deployments"):
        dataset.read(tmp_path / "a.jsonl", ["a"])


def test_play_asks_nobody_twice(data, trained):
    router = trained.router
    chosen = data.only(router.deployments)
    _, paid, asked = states.play(router.plan, 0, expected(router, chosen), chosen.scores, chosen.costs)
    for members, cost, costs in zip(asked, paid, chosen.costs, strict=True):
        assert cost == pytest.approx(sum(costs[place] for place in states.members_of(int(members), 3)))
