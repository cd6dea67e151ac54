"""Personal data on presidio's generated sentences: F2 of what is found, presidio-analyzer itself beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

from headrace_detectors import PII_KINDS, Action, Pii, compile_checks

KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "US_SSN": "us_ssn",
}
"""The structured types of the data, as both name them."""

Spans = Iterable[tuple[str, int, int]]


def ours() -> Callable[[str], Spans]:
    """The check `pii`."""
    checker = compile_checks([Pii(kinds=PII_KINDS, action=Action.FLAG)])
    return lambda text: [(one.kind, one.start, one.end) for one in checker.check(text).findings]


def presidio() -> Callable[[str], Spans]:
    """presidio-analyzer with its pattern recognisers. Raises ImportError where it is not installed."""
    from presidio_analyzer import RecognizerRegistry
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        UsSsnRecognizer,
    )

    registry = RecognizerRegistry()
    for kind in (
        CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer, UsSsnRecognizer,
    ):  # fmt: skip
        registry.add_recognizer(kind())

    def find(text: str) -> Spans:
        found = []
        for recognizer in registry.recognizers:
            for one in recognizer.analyze(text, list(KINDS), None):
                if one.score >= 0.4 and one.entity_type in KINDS:
                    found.append((KINDS[one.entity_type], one.start, one.end))
        return found

    return find


def measure(data: Path, find: Callable[[str], Spans]) -> tuple[list[tuple[str, int, float, float, float]], float]:
    """By type: how many there are, recall, precision, F2; and the mean time of a sentence in ms.

    A span is found when one of the same type overlaps it; one that was found is right when it overlaps one.
    """
    counts = {kind: [0, 0, 0, 0] for kind in KINDS.values()}
    took = 0.0
    sentences = json.loads((data / "guardrails/presidio.generated_large.json").read_text())
    for sentence in sentences:
        wanted = [
            (KINDS[span["entity_type"]], span["start_position"], span["end_position"])
            for span in sentence["spans"]
            if span["entity_type"] in KINDS
        ]
        start = perf_counter()
        found = [one for one in find(sentence["full_text"]) if one[0] in counts]
        took += perf_counter() - start
        for kind, *_ in wanted:
            counts[kind][0] += 1
        for one in wanted:
            counts[one[0]][1] += any(_overlap(one, other) for other in found)
        for one in found:
            counts[one[0]][2] += 1
            counts[one[0]][3] += any(_overlap(one, other) for other in wanted)
    counts["all structured"] = [sum(of) for of in zip(*counts.values(), strict=True)]
    rows = [(kind, of[0], *_f2(*of)) for kind, of in counts.items() if of[0]]
    return rows, 1000 * took / len(sentences)


def _overlap(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def _f2(wanted: int, hit: int, found: int, right: int) -> tuple[float, float, float]:
    recall, precision = hit / wanted, right / found if found else 0.0
    both = 4 * precision + recall
    return recall, precision, 5 * precision * recall / both if both else 0.0
