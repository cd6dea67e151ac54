"""Cranfield and XQuAD from the folder `retrieval` of HEADRACE_DATA, as judged queries with their documents."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from headrace_evals.ranking.judged import Judged, Text, keep


def sets(data: Path) -> list[Judged]:
    """The collections that are there."""
    found = []
    if (data / "cranfield.docs.xml").is_file():
        found.append(cranfield(data))
    if (data / "xquad.en.json").is_file():
        found.append(xquad(data))
    return found


def some(judged: Judged, most: int) -> Judged:
    """At most so many of the queries, spread over all of them; all where `most` is 0."""
    every = -(-len(judged.queries) // most) if most else 1
    return replace(judged, queries=dict(list(judged.queries.items())[::every]))


def cranfield(data: Path) -> Judged:
    """1,400 abstracts. Judgements name a query by its place in the file, not by the number that it has there."""
    documents = []
    for part in re.findall(r"<doc>(.*?)</doc>", (data / "cranfield.docs.xml").read_text("utf-8"), re.S):
        text = _tag(part, "text") or _tag(part, "title")
        if text:
            documents.append(Text(_tag(part, "docno"), _line(_tag(part, "title")), text))
    asked = re.findall(r"<title>(.*?)</title>", (data / "cranfield.queries.xml").read_text("utf-8"), re.S)
    grades: dict[str, dict[str, int]] = {}
    for line in (data / "cranfield.qrels.txt").read_text("utf-8").splitlines():
        if len(parts := line.split()) == 4:
            grades.setdefault(parts[0], {})[parts[2]] = int(parts[3])
    return keep("cranfield", {str(place): _line(text) for place, text in enumerate(asked, 1)}, grades, tuple(documents))


def xquad(data: Path) -> Judged:
    """240 paragraphs; each question has one."""
    documents: list[Text] = []
    queries: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    for article in json.loads((data / "xquad.en.json").read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            document = str(len(documents))
            documents.append(Text(document, "", paragraph["context"]))
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                grades[question["id"]] = {document: 1}
    return keep("xquad-en", queries, grades, tuple(documents))


def _tag(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.S)
    return found[1].strip() if found else ""


def _line(text: str) -> str:
    return " ".join(text.split())
