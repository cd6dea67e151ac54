"""Personal data on presidio's generated sentences: F2 of what is found, presidio-analyzer itself beside it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import thread_time
from typing import Any

from headrace_detectors import PII_KINDS, Action, Pii, compile_checks

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venv-presidio" / "bin" / "python"
"""Made by `infra/local/bootstrap.sh presidio`."""

STRUCTURED = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "US_SSN": "us_ssn",
}
"""The structured types of the data, as both name them."""
NAMED = {"PERSON": "person", "LOCATION": "location"}
"""Names and places of the data."""

Span = tuple[str, int, int]
Find = Callable[[str], tuple[Sequence[Span], float]]
"""What is found in a sentence, and the CPU time in ms that it took."""


def structured() -> Find:
    """The check `pii`."""
    checker = compile_checks([Pii(kinds=PII_KINDS, action=Action.FLAG)])

    def find(text: str) -> tuple[Sequence[Span], float]:
        start = thread_time()
        findings = checker.check(text).findings
        return [(one.kind, one.start, one.end) for one in findings], 1000 * (thread_time() - start)

    return find


@contextmanager
def names() -> Iterator[Find]:
    """The check `names`: its worker, with spaCy's small English model. Its times are not told."""
    with _process([str(PEER), "-m", "headrace_guardrails.worker"]) as ask:
        job = {"do": "names", "model": "en_core_web_sm", "kinds": list(NAMED.values())}

        def find(text: str) -> tuple[Sequence[Span], float]:
            answer = ask({**job, "text": text})
            if "error" in answer:
                raise RuntimeError(f"the check names failed: {answer['error']}")
            return [tuple(one) for one in answer["findings"]], 0.0

        yield find


@contextmanager
def presidio() -> Iterator[Find]:
    """presidio-analyzer with its English recognisers and the same model."""
    with _process([str(PEER), str(Path(__file__).with_name("peer.py"))]) as ask:

        def find(text: str) -> tuple[Sequence[Span], float]:
            answer = ask(text)
            return [tuple(one) for one in answer["spans"]], answer["ms"]

        yield find


@contextmanager
def _process(command: list[str]) -> Iterator[Callable[[object], dict[str, Any]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services" / "guardrails"), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as run:
        assert run.stdin is not None and run.stdout is not None
        given, told = run.stdin, run.stdout

        def ask(question: object) -> dict[str, Any]:
            given.write(json.dumps(question) + "\n")
            given.flush()
            line = told.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended")
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
        finally:
            given.close()


def measure(
    data: Path, find: Find, types: dict[str, str], total: str
) -> tuple[list[tuple[str, int, float, float, float]], float]:
    """By type: how many there are, recall, precision, F2; and the mean CPU time of a sentence in ms.

    A span is found when one of the same type overlaps it; one that was found is right when it overlaps one.
    """
    counts = {kind: [0, 0, 0, 0] for kind in types.values()}
    took = 0.0
    sentences = json.loads((data / "guardrails/presidio.generated_large.json").read_text())
    for sentence in sentences:
        wanted = [
            (types[span["entity_type"]], span["start_position"], span["end_position"])
            for span in sentence["spans"]
            if span["entity_type"] in types
        ]
        spans, ms = find(sentence["full_text"])
        took += ms
        found = [one for one in spans if one[0] in counts]
        for one in wanted:
            counts[one[0]][0] += 1
            counts[one[0]][1] += any(_overlap(one, other) for other in found)
        for one in found:
            counts[one[0]][2] += 1
            counts[one[0]][3] += any(_overlap(one, other) for other in wanted)
    counts[total] = [sum(of) for of in zip(*counts.values(), strict=True)]
    rows = [(kind, of[0], *_f2(*of)) for kind, of in counts.items() if of[0]]
    return rows, took / len(sentences)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def _f2(wanted: int, hit: int, found: int, right: int) -> tuple[float, float, float]:
    recall, precision = hit / wanted, right / found if found else 0.0
    both = 4 * precision + recall
    return recall, precision, 5 * precision * recall / both if both else 0.0
