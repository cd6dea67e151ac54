"""From spans to the summaries that traces are listed by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.features import features
from headrace_tracing.domain.spans import REPORTED, Facts, Span, Summary, Usage

REJECTED = "rejected"
"""Verdict on an answer that its stage of a cascade was not sure enough of."""

_MOST_LISTED = 64
_MOST_TTFT_S = 2000
_NONE = Usage()
_NOBODY = Facts()


def summarise(spans: Iterable[Span]) -> list[Summary]:
    """One summary per trace and tenant, in that order. Give each span once: sums add up."""
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        groups.setdefault((span.trace_id, span.tenant), []).append(span)
    return [_together(groups[key]) for key in sorted(groups)]


def _together(spans: Sequence[Span]) -> Summary:
    """The same as the summaries of each span merged, in one go."""
    first, named = spans[0], None
    end_ns = attempts = stages = failed = unsure = capture = 0
    billed, reported = [0, 0, 0], [0, 0, 0]
    session = ""
    findings: list[str] = []
    collections: list[str] = []
    for span in spans:
        given = span.attributes
        if span.start_ns < first.start_ns:
            first = span
        if span.model and (named is None or span.start_ns < named.start_ns):
            named = span
        end_ns = max(end_ns, span.end_ns)
        failed += span.status == "error"
        counted = given.get(genai.BILLED) is True
        if counted or given.get(REPORTED) is True:
            _add(billed if counted else reported, span.usage)
        if counted:
            attempts += 1
            unsure += given.get(genai.VERDICT) == REJECTED
        stage = given.get(genai.STAGE)
        if isinstance(stage, int) and 0 <= stage < 1000:
            stages = max(stages, stage + 1)
        if genai.CONVERSATION_ID in given:
            session = max(session, _text(given[genai.CONVERSATION_ID]))
        if genai.FINDINGS in given:
            findings += map(_without_count, _texts(given[genai.FINDINGS]))
        if genai.COLLECTIONS in given:
            collections += _texts(given[genai.COLLECTIONS])
        if span.content is not None:
            capture = max(capture, 2 if span.sealed else 1)
    failing = first.status == "error"
    return Summary(
        first.trace_id,
        first.tenant,
        first.name,
        "error" if failing else "ok",
        first.start_ns,
        end_ns,
        len(spans),
        Usage(*billed) if attempts else _NONE,
        Usage(*reported) if any(reported) else _NONE,
        attempts,
        _facts(named, named.model) if named is not None else _NOBODY,
        named.start_ns if named is not None else None,
        _text(first.attributes.get(genai.ERROR_TYPE)) if failing else "",
        session,
        stages,
        listed(findings),
        listed(collections),
        listed(span.service for span in spans if span.service),
        capture,
        failed=failed,
        unsure=unsure,
    )


def _add(sums: list[int], usage: Usage) -> None:
    sums[0] += usage.input_tokens
    sums[1] += usage.output_tokens
    sums[2] += usage.cost_nano_usd


def _facts(span: Span, model: str) -> Facts:
    given = span.attributes
    ttft_s = given.get(genai.RESPONSE_TIME_TO_FIRST_CHUNK)
    ttft_us = round(ttft_s * 1e6) if isinstance(ttft_s, int | float) and 0 < ttft_s < _MOST_TTFT_S else 0
    return Facts(
        model=model,
        deployment=_text(given.get(genai.DEPLOYMENT)),
        arm=_text(given.get(genai.ARM)),
        operation=_text(given.get(genai.OPERATION_NAME)),
        provider=_text(given.get(genai.PROVIDER_NAME)),
        cache=_text(given.get(genai.CACHE)),
        key_id=_text(given.get(genai.KEY_ID)),
        config_hash=_text(given.get(genai.CONFIG_HASH)),
        rollout=_text(given.get(genai.ROLLOUT)),
        user=_text(given.get(genai.USER)),
        question=span.content.question if span.content else "",
        ttft_us=ttft_us,
        watched=features(span.content, given),
    )


def merge(one: Summary, other: Summary) -> Summary:
    """Both together. The result is named after `one`'s trace and tenant, and has `one`'s feedback."""
    first = other if other.start_ns < one.start_ns else one
    named = other if _model_at(other) < _model_at(one) else one
    return replace(
        one,
        name=first.name,
        status=first.status,
        error=first.error,
        start_ns=first.start_ns,
        end_ns=max(one.end_ns, other.end_ns),
        spans=one.spans + other.spans,
        billed=one.billed + other.billed,
        reported=one.reported + other.reported,
        attempts=one.attempts + other.attempts,
        facts=named.facts,
        model_at_ns=named.model_at_ns,
        session=max(one.session, other.session),
        stages=max(one.stages, other.stages),
        findings=listed((*one.findings, *other.findings)),
        collections=listed((*one.collections, *other.collections)),
        services=listed((*one.services, *other.services)),
        capture=max(one.capture, other.capture),
        failed=one.failed + other.failed,
        unsure=one.unsure + other.unsure,
        thinned=one.thinned + other.thinned,
        saved=one.saved or other.saved,
    )


def listed(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, sorted, and not without bound."""
    return tuple(sorted(set(values)))[:_MOST_LISTED]


def _model_at(summary: Summary) -> float:
    return float("inf") if summary.model_at_ns is None else summary.model_at_ns


def _without_count(found: str) -> str:
    """`direction:check.kind:action` of a finding that also tells how often."""
    head, _, count = found.rpartition(":")
    return head if head and count.isdecimal() else found


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:256] if isinstance(value, str) else ""


def cost_usd(nano_usd: int) -> str:
    """Nano-USD as decimal dollars without needless zeros, for example `0.0000125`."""
    dollars, rest = divmod(nano_usd, 10**9)
    return f"{dollars}.{rest:09d}".rstrip("0").rstrip(".")


def nano_usd(text: str) -> int:
    """Decimal dollars as nano-USD. Raises ValueError and ArithmeticError for what is no amount."""
    return int(Decimal(text) * 10**9)
