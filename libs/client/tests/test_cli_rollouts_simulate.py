"""`headrace rollouts simulate`: what is listed, printed and refused."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from headrace.cli.app import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rollouts", "simulate", *arguments])
    return result.exit_code, result.output


def test_scenarios_are_listed():
    code, output = run()
    assert code == 0
    assert "errors 1% to 5% at 10%, the only metric" in output


def test_a_file_is_played(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("analysis: {failures: null, total: null}\ncandidate: {errors: 60%}\nrequests: 400\n")
    code, output = run(str(file), "--plays", "2")
    assert code == 0
    assert "fixed thresholds" in output
    assert "Wald's bound" in output
    code, output = run(str(file), "--plays", "2", "--no-peers", "--json")
    found = json.loads(output)
    assert code == 0
    assert [one["judge"] for one in found["judges"]] == ["headrace"]
    assert found["judges"][0]["rolled_back"]["share"] == 1


def test_a_scenario_that_is_none_is_refused(tmp_path: Path):
    code, output = run("errrors")
    assert code != 0
    assert "those that come with headrace: aa," in output
    file = tmp_path / "mine.yaml"
    file.write_text("traffic: {users: -1}\n")
    code, output = run(str(file))
    assert code != 0
    assert "traffic.users" in output


def test_one_play_is_drawn_and_ends_as_it_does_when_it_is_counted(tmp_path: Path):
    file, drawing = tmp_path / "mine.yaml", tmp_path / "why.svg"
    file.write_text("analysis: {failures: null, total: null}\ncandidate: {errors: 60%}\nrequests: 400\n")
    code, output = run(str(file), "--plot", str(drawing))
    assert code == 0
    counted = json.loads(run(str(file), "--plays", "1", "--no-peers", "--json")[1])["judges"][0]
    assert f"rolled back by errors after {counted['requests']:.0f} canary requests" in output
    picture = drawing.read_text()
    assert picture.startswith("<svg")
    assert ">beyond</text>" in picture, "when the margin was crossed"
    assert ">margin</text>" in picture
