"""`headrace eval` against a platform on loopback: exit codes, files, and what is said when it cannot be run."""

from __future__ import annotations

import json
from xml.etree import ElementTree as Xml

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app

SUITE = """
model: assistant
items: [{id: leave, input: "How many days?", expected: "27 days"}]
graders: {right: {type: contains}}
thresholds: {right: {at_least: 100%}, cost_usd: {at_most: 0.01}}
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "leave.yaml"
    path.write_text(SUITE)
    return path


def call(fake, *words):
    return CliRunner().invoke(app, ["--url", fake.url, "--api-key", "hr_team", "eval", *map(str, words)])


def test_a_run_that_holds_ends_with_0_and_writes_its_reports(fake, suite, tmp_path):
    done = call(
        fake,
        "run",
        suite,
        "--out",
        tmp_path / "r.json",
        "--junit",
        tmp_path / "r.xml",
        "--markdown",
        tmp_path / "r.md",
    )
    assert done.exit_code == 0, done.output
    assert "leave: passed" in done.output
    assert Xml.parse(tmp_path / "r.xml").getroot().get("failures") == "0"
    assert "# leave: passed" in (tmp_path / "r.md").read_text()
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept[0]["items"][0]["trace_id"]
    again = call(fake, "compare", suite, tmp_path / "r.json", tmp_path / "r.json")
    assert again.exit_code == 0, again.output


def test_a_threshold_that_does_not_hold_ends_with_1(fake, suite):
    suite.write_text(SUITE.replace("27 days", "30 days"))
    done = call(fake, "run", suite)
    assert done.exit_code == 1
    assert "✗ right at least 100%: it is 0%, not at least 100%" in done.output


def test_a_broken_suite_is_one_line(fake, suite):
    suite.write_text(SUITE.replace("contains", "magic"))
    done = call(fake, "run", suite)
    assert done.exit_code == 1
    assert "leave.yaml: Invalid value 'magic'" in done.output


def test_a_platform_that_is_away_is_one_line(suite):
    done = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9", "--api-key", "hr_team", "eval", "run", str(suite)])
    assert done.exit_code == 1
    assert "leave could not be run" in done.output


def test_nights_become_a_page(fake, suite, tmp_path):
    for _ in range(2):
        done = call(
            fake, "nightly", tmp_path, "--history", tmp_path / "history.jsonl", "--page", tmp_path / "page.html"
        )
        assert done.exit_code == 0, done.output
    assert "assistant on leave" in (tmp_path / "page.html").read_text()
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2
