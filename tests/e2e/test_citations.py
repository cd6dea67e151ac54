"""A PDF with a table goes in by the command, and an answer of a real model cites the page that holds it."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app

_SPEC = importlib.util.spec_from_file_location(
    "samples", Path(__file__).parents[2] / "services/retrieval/tests/samples.py"
)
samples = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(samples)

PARKING = [
    (72, 770, "Parking fees by zone."),
    *((110, 540, "Zone"), (260, 540, "Fee"), (110, 510, "Harbour zone"), (260, 510, "14 euros a day")),
    (72, 450, "Fees are paid at the gate."),
]
FILE = samples.pdf([(72, 770, "Traffic in the town."), (72, 750, "Cars drive slowly here.")], PARKING, ruled=(2,))


@pytest.fixture
def command(world, monkeypatch, tmp_path):
    """Run a command against the shared platform in an empty folder."""
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_an_answer_cites_the_page_of_a_pdf(command, tmp_path):
    (tmp_path / "parking.pdf").write_bytes(FILE)
    command("collections", "create", "town", "--acl", "none")
    assert "1 document in town, searchable" in command("ingest", "town", "parking.pdf")
    question = "What is the parking fee in the harbour zone?"
    asked = (
        "chat",
        "--collection",
        "town",
        "--model",
        "large",
        "--max-tokens",
        "48",
        "--temperature",
        "0",
        "--json",
        question,
    )
    answer = json.loads(command(*asked))
    cited = [one for one in answer["headrace"]["citations"] if "14 euros" in one["quote"]]
    assert cited, answer
    assert {(one["document_id"], one["page"]) for one in cited} == {("parking.pdf", 2)}
    assert cited[0]["sentences"] and answer["headrace"]["grounding"]["sentences"]
    assert {one["quote"] for one in answer["headrace"]["citations"]} == set(
        quoted(command, answer["headrace"]["trace_id"])
    )


def quoted(command, trace_id: str) -> list[str]:
    """What the trace of an answer says that it cites, once it is there."""
    for _ in range(120):
        listed = json.loads(command("traces", "list", "--json"))
        if trace_id in [one["trace_id"] for one in listed]:
            passages = json.loads(command("traces", "show", trace_id, "--json"))["content"]["passages"]
            assert all(one["cited"] for one in passages if one["quotes"])
            return [quote for one in passages for quote in one["quotes"]]
        time.sleep(0.5)
    raise AssertionError(f"no trace {trace_id}")


def test_what_the_documents_do_not_say_is_answered_so_and_cites_nothing(command):
    asked = ("chat", "--collection", "town", "--model", "grounded", "--json")
    answer = json.loads(command(*asked, "Which composer wrote the most symphonies?"))
    assert answer["choices"][0]["message"]["content"] == "That is not in the documents."
    assert answer["headrace"]["citations"] == [] and answer["headrace"]["stages"] == []
    answer = json.loads(command(*asked, "What is the parking fee in the harbour zone?"))
    pages = {one["quote"]: one["page"] for one in answer["headrace"]["citations"]}
    assert {page for quote, page in pages.items() if "14 euros" in quote} == {2}, "what it echoes is in the document"
