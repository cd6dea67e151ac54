import json

import numpy as np
import pytest

from headrace_router import RouterInvalid, load, save
from headrace_router import file as format_
from headrace_router.fakes import fake_router, stump
from headrace_router.predictors import Each, Linear
from headrace_router.prompt import WIDTH


@pytest.mark.parametrize("dimensions", [0, 3])
def test_what_was_saved_is_read_back(tmp_path, dimensions):
    made = fake_router(dimensions)
    save(made, tmp_path / "a.json")
    read = load(tmp_path / "a.json")
    assert (read.deployments, read.rates, read.metadata) == (made.deployments, made.rates, made.metadata)
    embedding = [0.6, 0.0, 0.8] if dimensions else None
    assert read.expect("why?", embedding) == pytest.approx(made.expect("why?", embedding), abs=1e-6)
    for tradeoff in (0, 10, 1000):
        one, two = made.begin("why?", embedding, tradeoff=tradeoff), read.begin("why?", embedding, tradeoff=tradeoff)
        for episode in (one, two):
            episode.saw("small", "B")
        assert one.qualities() == pytest.approx(two.qualities(), abs=1e-6)
        assert one.next().ask == two.next().ask
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_trees_of_each_output_are_read_back():
    made = fake_router()
    trees = Each((stump(WIDTH, 0, 2.0), stump(WIDTH, 1, 2.0)))
    made = made.__class__(**{**made.__dict__, "prior": trees})
    rows = np.zeros((2, WIDTH))
    rows[1, 0] = 3.0
    read = format_.loads(format_.dumps(made)).prior
    assert read(rows) == pytest.approx(trees(rows))
    assert read(rows)[:, 0].tolist() == pytest.approx([0.2689414, 0.7310586])


def broken(change):
    tree = json.loads(format_.dumps(fake_router()))
    change(tree)
    return json.dumps(tree).encode()


def array(tree):
    return tree["prior"]["arrays"]["weights"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree.update(format="headrace-router/9"), "train it again"),
        (lambda tree: tree.update(more=1), "more"),
        (lambda tree: tree["deployments"].pop(), "array"),
        (lambda tree: tree["deployments"].append(tree["deployments"][0]), "each once"),
        (lambda tree: array(tree).update(data="AAAA"), "bytes"),
        (lambda tree: array(tree).update(data="!"), "base64"),
        (lambda tree: array(tree).update(type="object"), "array"),
        (lambda tree: array(tree).update(shape=[-1, 2]), "array"),
        (lambda tree: tree["prior"].update(kind="pickle"), "kind"),
        (lambda tree: tree["asked"]["predictor"].update(number=10**9), "trees"),
        (lambda tree: tree["asked"]["predictor"]["arrays"]["left"].update(data="AAAAAAAAAAAAAAAA"), "trees"),
        (lambda tree: tree["asked"]["calibration"].update(y=[1.0, 0.0]), "calibration"),
        (lambda tree: tree["deployments"][0].update(conclusions={"A": 2.0}), "conclusions"),
        (lambda tree: tree["plan"].update(tradeoffs=[2.0, 1.0, 3.0]), "trade-offs"),
        (lambda tree: tree["plan"].update(moves=[9] * len(tree["plan"]["moves"])), "moves"),
        (lambda tree: tree.update(dimensions=-1), "dimensions"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(change, said):
    with pytest.raises(RouterInvalid, match=said):
        format_.loads(broken(change))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000])
def test_what_is_no_router_is_refused(data):
    with pytest.raises(RouterInvalid):
        format_.loads(data)


def test_numbers_that_are_not_finite_are_refused():
    made = fake_router()
    bad = made.__class__(**{**made.__dict__, "prior": Linear(made.prior.weights + np.inf, made.prior.bias)})
    with pytest.raises(RouterInvalid, match="finite"):
        format_.loads(format_.dumps(bad))


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    save(fake_router(), tmp_path / "a.json")
    monkeypatch.setattr(format_, "MOST_BYTES", 100)
    with pytest.raises(RouterInvalid, match="MiB"):
        load(tmp_path / "a.json")
