"""`headrace cascade` on small synthetic files."""

import json
import random

import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli import cascade
from headrace.cli.app import app


@pytest.fixture
def run():
    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["cascade", *map(str, arguments)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


@pytest.fixture
def recorded(tmp_path):
    """Answers of which `small`'s log probability tells whether they are right."""

    def make(name="answers.jsonl", count=120, seed=0):
        rng = random.Random(seed)
        path = tmp_path / name
        with path.open("w") as file:
            for _ in range(count):
                right, truth = rng.random() < 0.6, rng.choice("AB")
                row = {
                    "prompt": f"question {rng.randrange(10_000)}",
                    "scores": {"small": float(right), "large": 1.0},
                    "costs": {"small": 0.0001, "large": 0.002},
                    "answers": {"small": truth if right else "C", "large": truth},
                    "signals": {"small": {"mean_logprob": -0.1 if right else -0.9}},
                }
                file.write(json.dumps(row) + "\n")
        return path

    return make


def test_a_threshold_is_tuned_to_a_target(run, recorded, tmp_path):
    out = run(
        "tune", recorded(), "--stages", "small,large", "--quality-loss", "2%", "--plot", tmp_path / "c.svg"
    ).stdout
    patch = yaml.safe_load(out[out.index("models:") :])
    first, last = patch["models"]["assistant"]["cascade"]
    assert first["deployment"] == "small"
    assert first["accept"]["signal"] == "mean_logprob"
    assert -0.9 < first["accept"]["at_least"] <= -0.1
    assert last == {"deployment": "large"}
    assert (tmp_path / "c.svg").read_text().startswith("<svg")


def test_the_patch_is_a_valid_cascade(run, recorded, tmp_path):
    from headrace_kit.config.models import Model

    run(
        "tune",
        recorded(),
        "--stages",
        "small,large",
        "--budget-usd",
        "0.0015",
        "--model",
        "m",
        "-o",
        tmp_path / "p.yaml",
    )
    model = Model.model_validate(yaml.safe_load((tmp_path / "p.yaml").read_text())["models"]["m"])
    assert [stage.deployment for stage in model.cascade] == ["small", "large"]


def test_a_router_is_trained_and_tuned(run, recorded, tmp_path):
    file = tmp_path / "r.json"
    trained = run("train", recorded(), "--out", file, "--folds", 2, "--plot", tmp_path / "t.svg")
    assert "next: headrace cascade tune" in trained.stdout
    assert "predicting by the prompt" in trained.stderr
    assert (tmp_path / "t.svg").exists()
    other = recorded("other.jsonl", seed=1)
    found = json.loads(run("tune", other, "--router", file, "--quality-loss", "5%", "--json").stdout)
    model = found["patch"]["models"]["assistant"]
    assert model["learned"]["file"] == str(file)
    assert {stage["deployment"] for stage in model["cascade"]} == {"small", "large"}
    assert found["quality"]["mean"] > 0.9
    assert found["cost"]["low"] <= found["cost"]["mean"] <= found["cost"]["high"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quality-loss", "2%"], "one of the two"),
        (["--stages", "small,large"], "either a quality loss or a budget"),
        (["--stages", "small,large", "--quality-loss", "0.02"], "write it with %"),
        (["--stages", "small", "--quality-loss", "2%"], "two deployments"),
        (["--stages", "small,huge", "--quality-loss", "2%"], "'huge'"),
        (["--stages", "small,large", "--quality-loss", "2%", "--signal", "margin"], "margin"),
        (["--stages", "small,large", "--budget-usd", "0.00001"], "cheapest"),
        (["--router", "none.json", "--quality-loss", "2%"], "No such file"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_a_line(run, recorded, arguments, said):
    error = run("tune", recorded(), *arguments, code=1).stderr
    assert said in error
    assert error.startswith("headrace: ")
    assert "Traceback" not in error


def test_without_the_trainer_it_says_what_to_install(run, recorded, monkeypatch):
    from headrace.cli import _config_file

    def away(name):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(_config_file, "import_module", away)
    error = run("train", recorded(), "--out", "r.json", code=1).stderr
    assert "training needs sklearn" in error
    assert "extra `train`" in error


def test_prompts_are_embedded_by_the_platform(fake, monkeypatch, recorded, tmp_path):
    seen = []

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def embed(self, texts, *, model):
            from headrace.types import models

            seen.append((len(texts), model))
            vectors = [models.Embedding([float(len(text)), 1.0], index) for index, text in enumerate(texts)]
            return models.Embeddings(data=vectors, model=model)

    monkeypatch.setattr(cascade, "connect", lambda ctx: Client())
    file = tmp_path / "r.json"
    result = CliRunner().invoke(
        app, ["cascade", "train", str(recorded()), "--out", str(file), "--folds", "2", "--embed", "minilm", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert seen == [(64, "minilm"), (56, "minilm")]
    assert json.loads(result.stdout)["metadata"]["features"]["embedding"] == 2
