"""Prompts with what each deployment answered, how good that was and what it cost: JSON lines or CSV.

A JSON line: `{"prompt": "...", "scores": {"small": 1, "large": 0.5}, "costs": {"small": 0.0001, "large": 0.002}}`, and
if there are any: `answers` (texts), `signals` (`{"small": {"mean_logprob": -0.2}}`), `embedding` (of the prompt's end),
`group` (the kind of task, so that folds and reports can be made by it). Scores are 0 to 1, costs in US dollars.

A CSV has the columns `prompt`, `group`, and for each deployment `NAME:score`, `NAME:cost`, `NAME:answer` and
`NAME:SIGNAL`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headrace_router.answers import Answer
from headrace_router.predictors import Array
from headrace_router.prompt import measure

LEAST_ROWS = 40
_FIELDS = {"prompt", "scores", "costs", "answers", "signals", "embedding", "group"}


class DatasetInvalid(ValueError):
    """The dataset cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Row:
    """One prompt."""

    prompt: str
    scores: Mapping[str, float]
    costs: Mapping[str, float]
    answers: Mapping[str, str]
    signals: Mapping[str, Mapping[str, float]]
    embedding: tuple[float, ...] | None = None
    group: str = ""


@dataclass(frozen=True)
class Dataset:
    """Rows that all have a score and a cost of every one of `deployments`. `digest` is the SHA-256 of what was read."""

    deployments: tuple[str, ...]
    rows: tuple[Row, ...]
    digest: str
    left_out: int = 0
    """Rows that lacked a score or a cost."""

    @property
    def scores(self) -> Array:
        """How good each answer was (rows, deployments)."""
        return np.array([[row.scores[name] for name in self.deployments] for row in self.rows])

    @property
    def costs(self) -> Array:
        """What each cost, in US dollars."""
        return np.array([[row.costs[name] for name in self.deployments] for row in self.rows])

    @property
    def groups(self) -> list[str]:
        """The group of each row."""
        return [row.group for row in self.rows]

    @property
    def has_answers(self) -> bool:
        """Whether every deployment's answer is there in every row."""
        return all(name in row.answers for row in self.rows for name in self.deployments)

    @property
    def dimensions(self) -> int:
        """Length of the embeddings; 0 where not every row has one."""
        sizes = {len(row.embedding or ()) for row in self.rows}
        return sizes.pop() if len(sizes) == 1 else 0

    def features(self) -> Array:
        """What the prior sees of each prompt."""
        rows = np.array([measure(row.prompt) for row in self.rows], dtype=float)
        if self.dimensions:
            rows = np.hstack([rows, np.array([row.embedding for row in self.rows], dtype=float)])
        return rows

    def answer(self, row: int, deployment: int) -> Answer:
        """An answer with the signal that the posterior looks at."""
        entry, name = self.rows[row], self.deployments[deployment]
        return Answer(entry.answers[name], entry.signals.get(name, {}).get("mean_logprob"))

    def take(self, places: Sequence[int]) -> Dataset:
        """Some of the rows."""
        return replace(self, rows=tuple(self.rows[place] for place in places))

    def only(self, deployments: Sequence[str]) -> Dataset:
        """Some of the deployments.

        Raises:
            DatasetInvalid: one of them is not there.
        """
        for name in deployments:
            if name not in self.deployments:
                raise DatasetInvalid(f"no deployment {name!r} in the dataset; it has {', '.join(self.deployments)}")
        return replace(self, deployments=tuple(deployments))

    def embedded(self, vectors: Sequence[Sequence[float]]) -> Dataset:
        """With these embeddings."""
        pairs = zip(self.rows, vectors, strict=True)
        return replace(self, rows=tuple(replace(row, embedding=tuple(vector)) for row, vector in pairs))


def read(path: Path, deployments: Sequence[str] | None = None) -> Dataset:
    """Read a dataset; a name that ends in `.csv` is CSV, anything else JSON lines.

    Args:
        path: the file.
        deployments: the ones that matter; None stands for all that have a score anywhere.

    Raises:
        DatasetInvalid: it cannot be used.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetInvalid(f"{path}: not UTF-8") from error
    rows = list(_csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text, path))
    return gather(rows, deployments, hashlib.sha256(data).hexdigest(), str(path))


def gather(rows: Sequence[Row], deployments: Sequence[str] | None, digest: str, name: str) -> Dataset:
    """A dataset of the rows that have what is needed of all deployments. Raises DatasetInvalid when too few have."""
    known = list(dict.fromkeys(deployment for row in rows for deployment in row.scores))
    wanted = list(deployments or known)
    for deployment in wanted:
        if deployment not in known:
            raise DatasetInvalid(
                f"{name}: no row has a score of {deployment!r}; there are {', '.join(known) or 'none'}"
            )
    if len(wanted) < 2:
        raise DatasetInvalid(f"{name}: a cascade needs two deployments or more, there is {', '.join(wanted) or 'none'}")
    kept = [row for row in rows if all(name in row.scores and name in row.costs for name in wanted)]
    if len(kept) < LEAST_ROWS:
        raise DatasetInvalid(
            f"{name}: {len(kept)} rows have a score and a cost of each of {', '.join(wanted)}; {LEAST_ROWS} are needed"
        )
    return Dataset(tuple(wanted), tuple(kept), digest, len(rows) - len(kept))


def write(rows: Sequence[Row], path: Path) -> None:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            entry: dict[str, Any] = {"prompt": row.prompt, "scores": row.scores, "costs": row.costs}
            for field in ("answers", "signals", "group"):
                if value := getattr(row, field):
                    entry[field] = value
            if row.embedding is not None:
                entry["embedding"] = row.embedding
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _json_rows(text: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetInvalid(f"{path}:{number}: not JSON: {error}") from error
        yield _row(entry, f"{path}:{number}")


def _row(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
        raise DatasetInvalid(f"{where}: it needs an object with the text `prompt`")
    if unknown := set(entry) - _FIELDS:
        raise DatasetInvalid(f"{where}: unknown field {sorted(unknown)[0]!r}; there are {', '.join(sorted(_FIELDS))}")
    answers = entry.get("answers", {})
    if not isinstance(answers, dict) or not all(isinstance(text, str) for text in answers.values()):
        raise DatasetInvalid(f"{where}: answers must map deployments to texts")
    signals = entry.get("signals", {})
    if not isinstance(signals, dict):
        raise DatasetInvalid(f"{where}: signals must map deployments to numbers by name")
    embedding = entry.get("embedding")
    if embedding is not None and not (isinstance(embedding, list) and all(_number(value) for value in embedding)):
        raise DatasetInvalid(f"{where}: embedding must be a list of numbers")
    return Row(
        prompt=entry["prompt"],
        scores=_numbers(entry.get("scores"), f"{where}: scores", 1.0),
        costs=_numbers(entry.get("costs"), f"{where}: costs", 1e6),
        answers=answers,
        signals={name: _numbers(value, f"{where}: signals of {name}", None) for name, value in signals.items()},
        embedding=None if embedding is None else tuple(map(float, embedding)),
        group=str(entry.get("group", "")),
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _numbers(value: Any, where: str, most: float | None) -> dict[str, float]:
    if not isinstance(value, dict):
        raise DatasetInvalid(f"{where} must map names to numbers")
    found = {}
    for name, number in value.items():
        if number is None:
            continue
        if isinstance(number, bool) and most == 1.0:
            number = float(number)
        if not _number(number) or (most is not None and not 0 <= number <= most):
            bounds = "" if most is None else f" from 0 to {most:g}"
            raise DatasetInvalid(f"{where}: {name} must be a number{bounds}, not {str(number)[:40]!r}")
        found[str(name)] = float(number)
    return found


def _csv_rows(text: str, path: Path) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(text.splitlines(keepends=True))
    if "prompt" not in (reader.fieldnames or ()):
        raise DatasetInvalid(f"{path}:1: there is no column `prompt`")
    for cells in reader:
        where = f"{path}:{reader.line_num}"
        entry: dict[str, Any] = {
            "prompt": cells["prompt"] or "",
            "scores": {},
            "costs": {},
            "answers": {},
            "signals": {},
        }
        if cells.get("group"):
            entry["group"] = cells["group"]
        for column, cell in cells.items():
            deployment, colon, kind = (column or "").rpartition(":")
            if not colon or cell is None or cell == "":
                continue
            if kind == "answer":
                entry["answers"][deployment] = cell
                continue
            number = _parsed(cell, f"{where}: {column}")
            if kind in ("score", "cost"):
                entry[f"{kind}s"][deployment] = number
            else:
                entry["signals"].setdefault(deployment, {})[kind] = number
        yield _row(entry, where)


def _parsed(cell: str, where: str) -> float:
    if cell.strip().lower() in ("true", "false"):
        return float(cell.strip().lower() == "true")
    try:
        return float(cell)
    except ValueError:
        raise DatasetInvalid(f"{where} must be a number, not {cell[:40]!r}") from None
