"""What a trace tells beyond its spans: attempts and what became of them, findings, and all content in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content
from headrace_tracing.domain.spans import Span, Usage
from headrace_tracing.domain.tree import describing


@dataclass(frozen=True, slots=True)
class Decision:
    """One attempt on a deployment. Nanoseconds since 1970; `confidence` is the value of `signal`."""

    span_id: str
    stage: int
    attempt: int
    deployment: str
    verdict: str
    confidence: float | None
    signal: str
    moment: str
    reason: str
    error: str
    start_ns: int
    end_ns: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Found:
    """What a guardrail found, and how often."""

    direction: str
    check: str
    kind: str
    action: str
    count: int


def decisions(spans: Sequence[Span]) -> list[Decision]:
    """The attempts of a trace in the order in which they began."""
    attempts = [span for span in spans if span.attributes.get(genai.BILLED) is True]
    return [_decision(span) for span in sorted(attempts, key=lambda span: (span.start_ns, span.span_id))]


def _decision(span: Span) -> Decision:
    given = span.attributes
    confidence = given.get(genai.CONFIDENCE)
    return Decision(
        span.span_id,
        _number(given.get(genai.STAGE)),
        _number(given.get(genai.ATTEMPT)),
        _text(given.get(genai.DEPLOYMENT)),
        _text(given.get(genai.VERDICT)),
        float(confidence) if isinstance(confidence, int | float) else None,
        _text(given.get(genai.SIGNAL)),
        _text(given.get(genai.MOMENT)),
        _text(given.get(genai.REASON)),
        _text(given.get(genai.ERROR_TYPE)),
        span.start_ns,
        span.end_ns,
        span.usage,
    )


def findings(spans: Sequence[Span]) -> list[Found]:
    """What guardrails found anywhere in a trace."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for span in spans:
        told = span.attributes.get(genai.FINDINGS)
        for entry in told if isinstance(told, list) else []:
            parts = entry.split(":") if isinstance(entry, str) else []
            if len(parts) in (3, 4):
                check, _, kind = parts[1].partition(".")
                often = int(parts[3]) if len(parts) == 4 and parts[3].isdecimal() and len(parts[3]) < 7 else 1
                counts[parts[0], check, kind, parts[2]] += often
    return [Found(*key, count) for key, count in sorted(counts.items())]


def content(spans: Sequence[Span]) -> Content | None:
    """The content of the span that describes the trace; passages from wherever they are, where it has none."""
    described = describing(spans)
    found = described.content if described else None
    if found is None:
        found = next((span.content for span in spans if span.content is not None), None)
    if found is None or found.passages:
        return found
    passages = next((span.content.passages for span in spans if span.content and span.content.passages), ())
    return msgspec.structs.replace(found, passages=passages)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
