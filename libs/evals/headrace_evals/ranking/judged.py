"""Judged queries: a BEIR folder, a TREC folder, or a CSV of questions and relevant documents."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_FIELD_BYTES = 16 << 20
_QUESTIONS = ("question", "query", "text")
_DOCUMENTS = ("document", "document_id", "doc", "doc_id", "relevant")
_GRADES = ("relevance", "grade", "score")


class JudgedInvalid(Exception):
    """The data set cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Text:
    """A document of a data set."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries by id, and for each of them the grades of its documents; 0 and less: not relevant.

    Only queries with a relevant document are here. `documents` is empty where the data set brings none.
    """

    name: str
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]
    documents: tuple[Text, ...] = field(default=())


def read(path: Path, split: str = "test") -> Judged:
    """Read a data set.

    Args:
        path: a CSV with the columns question and document (and perhaps relevance), or a folder: of BEIR
            (`queries.jsonl`, `qrels/<split>.tsv`, perhaps `corpus.jsonl`) or of TREC (`*.qrels` or `*qrels*.txt`,
            topics as `<id> TAB <text>` in `*.queries` or `*queries*.tsv`).
        split: which of BEIR's judgements.

    Raises:
        JudgedInvalid: it is of no such form, or holds no judged query.
    """
    csv.field_size_limit(_FIELD_BYTES)
    documents: tuple[Text, ...] = ()
    try:
        if path.is_file():
            queries, grades = _table(path)
        elif (path / "queries.jsonl").is_file():
            queries, grades, documents = _beir(path, split)
        elif path.is_dir():
            queries, grades = _trec(path)
        else:
            raise JudgedInvalid(f"{path}: there is no such file or folder")
    except (UnicodeDecodeError, ValueError, KeyError, csv.Error) as error:
        raise JudgedInvalid(f"{path}: it cannot be read: {error}") from error
    return keep(path.stem, queries, grades, documents)


def keep(
    name: str, queries: Mapping[str, str], grades: Mapping[str, Mapping[str, int]], documents: tuple[Text, ...] = ()
) -> Judged:
    """The queries that have a relevant document. Raises JudgedInvalid when none has."""
    kept = {id: text for id, text in queries.items() if any(grade > 0 for grade in grades.get(id, {}).values())}
    if not kept:
        raise JudgedInvalid(f"{name}: no query has a relevant document: do the ids of queries and judgements match?")
    return Judged(name, kept, {id: grades[id] for id in kept}, documents)


def _table(path: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    queries: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = {name.strip().lower(): name for name in rows.fieldnames or ()}
        question, document, grade = (_column(columns, names) for names in (_QUESTIONS, _DOCUMENTS, _GRADES))
        if question is None or document is None:
            raise JudgedInvalid(
                f"{path}: the first line names a column question and a column document; it has {list(columns)}"
            )
        for row in rows:
            if text := (row[question] or "").strip():
                queries[text] = text
                given = (row[grade] or "1") if grade else "1"
                grades.setdefault(text, {})[(row[document] or "").strip()] = int(given)
    return queries, grades


def _column(columns: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _beir(path: Path, split: str) -> tuple[dict[str, str], dict[str, dict[str, int]], tuple[Text, ...]]:
    file = path / "qrels" / f"{split}.tsv"
    if not file.is_file():
        there = sorted(one.stem for one in (path / "qrels").glob("*.tsv"))
        raise JudgedInvalid(f"{file}: there is no such file; the splits here are: {', '.join(there) or 'none'}")
    queries = {str(row["_id"]): str(row["text"]) for row in _lines(path / "queries.jsonl")}
    grades: dict[str, dict[str, int]] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines()):
        query, document, grade = line.split("\t")
        if number or grade.strip().lstrip("-").isdigit():  # the first line is a heading
            grades.setdefault(query, {})[document] = int(grade)
    corpus = path / "corpus.jsonl"
    documents = _lines(corpus) if corpus.is_file() else iter(())
    texts = (Text(str(row["_id"]), str(row.get("title") or ""), str(row["text"])) for row in documents)
    return queries, grades, tuple(texts)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _trec(path: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    files = sorted(path.iterdir())
    judgements = [file for file in files if "qrels" in file.name]
    topics = [file for file in files if re.search(r"quer(y|ies)|topics", file.name) and "qrels" not in file.name]
    if len(judgements) != 1 or len(topics) != 1:
        raise JudgedInvalid(
            f"{path}: a folder of TREC has one file of judgements (*qrels*) and one of topics (*queries* or *topics*, "
            f"a line `<id> TAB <text>` each); it has {len(judgements)} and {len(topics)}"
        )
    queries = dict(line.split("\t", 1) for line in topics[0].read_text("utf-8").splitlines() if line.strip())
    grades: dict[str, dict[str, int]] = {}
    for line in judgements[0].read_text("utf-8").splitlines():
        if line.strip():
            query, _, document, grade = line.split()
            grades.setdefault(query, {})[document] = int(grade)
    return queries, grades
