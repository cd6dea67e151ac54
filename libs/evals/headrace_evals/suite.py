"""Suites: `evals/*.yaml`, which live with the config.

model: assistant
dataset: handbook.jsonl        # beside this file; or `items:` here
options: {temperature: 0, max_tokens: 200, collections: [handbook]}
graders:
  right: {type: contains}
  form: {type: json}
  better: {type: judge, model: large, criteria: "Is it right, short and polite?"}
thresholds:
  right: {at_least: 80%, max_decrease: 5%}
  latency_ms: {max_increase: 20%, of: p95}
  cost_usd: {at_most: 0.002, max_increase: 10%}
  errors: {at_most: 1%}
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headrace_evals import datasets
from headrace_evals.datasets import DatasetInvalid, Item

QUANTITIES = ("latency_ms", "cost_usd", "output_tokens")
"""What every answer is measured by, beside its graders; less is better."""

ERRORS = "errors"
"""Questions that got no answer."""

_PERCENT = re.compile(r"^(\d+(?:\.\d+)?)%$")


class SuiteInvalid(ValueError):
    """A suite cannot be used; the message names file and field."""


class Options(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How questions are asked. Left out: the model's own way, but for `temperature`, which is 0."""

    temperature: float = 0.0
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    response_format: dict[str, Any] | None = None
    """In OpenAI's shape."""
    collections: list[str] = field(default_factory=list)
    guardrails: str = ""
    timeout_s: float = 120.0


class Exact(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="exact"):
    """The answer is what was expected, but for white space and, by default, case."""

    ignore_case: bool = True


class Contains(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="contains"):
    """The answer holds what was expected; with `words`, all of these."""

    words: list[str] = field(default_factory=list)
    ignore_case: bool = True


class Pattern(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="regex"):
    """An expression (RE2) is found in the answer; with `{expected}` in it, that stands for the item's."""

    pattern: str


class Number(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="number"):
    """The last number of the answer is the expected one, give or take `tolerance`."""

    tolerance: float = 0.0


class Json(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="json"):
    """The answer is JSON, of this schema where one is given; with `equal`, the same value as expected."""

    schema: dict[str, Any] | None = None
    equal: bool = False


class Cited(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="cited"):
    """The answer stands on a passage of one of these documents; without `documents`, of `metadata.documents`."""

    documents: list[str] = field(default_factory=list)


class Similarity(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="similarity"):
    """Cosine of the vectors of the answer and of what was expected, 0 to 1."""

    model: str


class Judge(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="judge"):
    """A model says which of two answers is better: the candidate's or the baseline's; or, with one arm, the answer or
    what was expected. It is asked twice with their places swapped; who changes its mind says `tie`.

    `labels` is a file of comparisons that people made, beside the suite, a line each:
    `{"input", "a", "b", "prefers": "a"|"b"|"tie"}`. The judge makes them too, first, and counts only if it agrees with
    people: the lower end of the 95% confidence interval of its agreement must be at least `agreement`.
    """

    model: str
    criteria: str = "Which answer is more correct and more helpful?"
    labels: str = ""
    agreement: str | float = "60%"


Grader = Exact | Contains | Pattern | Number | Json | Cited | Similarity | Judge


class Threshold(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must hold of a metric. Shares are written with `%`.

    `at_least` and `at_most` are about the arm alone. `max_decrease` (of a score) and `max_increase` (of a quantity, or
    of errors) are about its difference from the baseline on the same items, and must be *shown*: the confidence
    interval of the difference lies on the right side of the margin. `of` says what of a quantity is compared.
    """

    at_least: float | str | None = None
    at_most: float | str | None = None
    max_decrease: float | str | None = None
    max_increase: float | str | None = None
    of: Literal["mean", "p50", "p90", "p95"] = "mean"


class Label(Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison that a person made."""

    input: str
    a: str
    b: str
    prefers: Literal["a", "b", "tie"]


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """A suite as it is read.

    Attributes:
        model: who is asked unless the caller says otherwise.
        dataset: file of items, relative to the suite; or `items` themselves.
        limit: ask only so many, spread evenly by a hash of their ids. Default: all.
        repeat: how often each is asked; an item's score is the mean.
        concurrency: questions at one time.
        alpha: how often at most something is held to be shown that is not, for each threshold.
    """

    graders: dict[str, Grader]
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    model: str = "assistant"
    about: str = ""
    dataset: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    limit: int | None = None
    repeat: int = 1
    concurrency: int = 4
    options: Options = field(default_factory=Options)
    alpha: float | str = "5%"


class Loaded(Struct, frozen=True):
    """A suite with its items. `digest` is a hash of both: results with the same one can be compared."""

    name: str
    suite: Suite
    items: list[Item]
    labels: dict[str, list[Label]]
    digest: str


def number(value: float | str, where: str) -> float:
    """A number, or a share written with `%`. Raises SuiteInvalid naming `where`."""
    if isinstance(value, str):
        match = _PERCENT.match(value.strip())
        if match is None:
            raise SuiteInvalid(f"{where}: {value!r} is neither a number nor a share such as 5%")
        return float(match[1]) / 100
    if not math.isfinite(value) or value < 0:
        raise SuiteInvalid(f"{where}: {value} is not a number from 0")
    return float(value)


def load(path: Path) -> Loaded:
    """Read a suite with its dataset and labels.

    Raises:
        SuiteInvalid: a file is missing or not valid; the message names it and the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = YAML(typ="safe").load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteInvalid(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    except YAMLError as error:
        raise SuiteInvalid(f"{path}: it is not YAML: {str(error).splitlines()[0]}") from error
    try:
        suite = msgspec.convert(tree, Suite)
        _check(suite)
        items = _items(suite, path)
        labels = {name: _labels(path, one.labels) for name, one in suite.graders.items() if isinstance(one, Judge)}
        _expected(suite, items)
    except msgspec.ValidationError as error:
        raise SuiteInvalid(f"{path}: {str(error).replace('$.', '')}") from error
    except DatasetInvalid as error:
        raise SuiteInvalid(str(error)) from error
    except SuiteInvalid as error:
        raise SuiteInvalid(f"{path}: {error}") from error
    kept = [suite, items, labels]
    digest = hashlib.sha256(msgspec.json.encode(kept, order="deterministic")).hexdigest()[:16]
    return Loaded(path.stem, suite, items, labels, digest)


def _check(suite: Suite) -> None:
    if not suite.graders:
        raise SuiteInvalid("graders: there is none")
    for name, least, value in (
        ("repeat", 1, suite.repeat),
        ("concurrency", 1, suite.concurrency),
        ("limit", 1, suite.limit or 1),
    ):
        if not least <= value <= 1000 and not (name == "limit" and value >= 1):
            raise SuiteInvalid(f"{name} is from 1 to 1000")
    if not 0 < number(suite.alpha, "alpha") < 0.5:
        raise SuiteInvalid("alpha is above 0% and below 50%")
    for name in suite.graders:
        if name in (*QUANTITIES, ERRORS):
            raise SuiteInvalid(f"graders.{name}: every answer is measured by that already; choose another name")
    known = (*suite.graders, *QUANTITIES, ERRORS)
    for name, threshold in suite.thresholds.items():
        where = f"thresholds.{name}"
        if name not in known:
            raise SuiteInvalid(f"{where}: there is no such metric; there are {', '.join(known)}")
        _check_threshold(where, threshold, score=name in suite.graders, errors=name == ERRORS)
    for name, grader in suite.graders.items():
        if isinstance(grader, Judge):
            number(grader.agreement, f"graders.{name}.agreement")


def _check_threshold(where: str, threshold: Threshold, *, score: bool, errors: bool) -> None:
    given = {
        name: value
        for name in ("at_least", "at_most", "max_decrease", "max_increase")
        if (value := getattr(threshold, name)) is not None
    }
    if not given:
        raise SuiteInvalid(f"{where}: it demands nothing: give it at_least, at_most, max_decrease or max_increase")
    for name, value in given.items():
        number(value, f"{where}.{name}")
    wrong = "max_increase" if score else "max_decrease"
    if wrong in given:
        right = "max_decrease" if score else "max_increase"
        raise SuiteInvalid(f"{where}.{wrong}: {'more' if score else 'less'} is better here; write {right}")
    if (score or errors) and threshold.of != "mean":
        raise SuiteInvalid(f"{where}.of: only quantities have quantiles: {', '.join(QUANTITIES)}")


def _items(suite: Suite, path: Path) -> list[Item]:
    if bool(suite.dataset) == bool(suite.items):
        raise SuiteInvalid("one of dataset and items is needed")
    if suite.dataset:
        items = datasets.read(_beside(path, suite.dataset, "dataset"))
    else:
        items = []
        for place, tree in enumerate(suite.items):
            try:
                items.append(datasets.item_of({"id": str(place + 1), **tree}))
            except (msgspec.MsgspecError, ValueError) as error:
                raise SuiteInvalid(f"items[{place}]: {error}") from error
        items = datasets.check(items, str(path))
    if suite.limit is not None and suite.limit < len(items):
        chosen = sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())[: suite.limit]
        wanted = {item.id for item in chosen}
        items = [item for item in items if item.id in wanted]
    return items


def read_labels(place: Path) -> list[Label]:
    """Comparisons that people made, a JSON object a line.

    Raises:
        SuiteInvalid: the file is missing, or a line is none; the message names both.
    """
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteInvalid(f"{place}: {getattr(error, 'strerror', None) or error}") from error
    labels = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                labels.append(msgspec.json.decode(line, type=Label))
        except msgspec.MsgspecError as error:
            raise SuiteInvalid(f"{place}: line {number}: {error}") from error
    return labels


def _labels(path: Path, file: str) -> list[Label]:
    return read_labels(_beside(path, file, "labels")) if file else []


def _beside(path: Path, file: str, field_: str) -> Path:
    place = (path.parent / file).resolve()
    if not place.is_relative_to(path.parent.resolve()):
        raise SuiteInvalid(f"{field_}: {file!r} is not beside the suite")
    return path.parent / file


def _expected(suite: Suite, items: list[Item]) -> None:
    """What graders compare with must be there, before anything is asked."""
    for name, grader in suite.graders.items():
        needs = (
            isinstance(grader, Exact | Number | Similarity)
            or (isinstance(grader, Contains) and not grader.words)
            or (isinstance(grader, Pattern) and "{expected}" in grader.pattern)
            or (isinstance(grader, Json) and grader.equal)
        )
        lacking = next((item.id for item in items if item.expected is None), None) if needs else None
        if lacking is not None:
            raise SuiteInvalid(f"graders.{name}: it compares with `expected`, which item {lacking!r} does not have")
