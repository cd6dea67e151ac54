"""A filter as SQL. Values are always parameters."""

from __future__ import annotations

from typing import Any

from headrace_tracing.domain.filters import TraceFilter, finding_pattern
from headrace_tracing.domain.spans import STATUSES

# Spans without a tenant, where the same trace has some with, are a part of that trace and no trace of their own.
_NOT_A_PART = (
    "(t.tenant <> '' OR NOT EXISTS (SELECT 1 FROM tracing.traces o WHERE o.trace_id = t.trace_id AND o.tenant <> ''))"
)
_EQUAL = {
    "model": "model", "deployment": "deployment", "arm": "arm", "operation": "operation", "cache": "cache",
    "session": "session", "user": "user_digest", "config_hash": "config_hash", "error": "error",
    "rollout": "rollout", "key_id": "key_id", "provider": "provider",
}  # fmt: skip
COST = "CASE WHEN t.attempts > 0 THEN t.cost_nano_usd ELSE t.reported_nano_usd END"
INPUT = "CASE WHEN t.attempts > 0 THEN t.input_tokens ELSE t.reported_input_tokens END"
OUTPUT = "CASE WHEN t.attempts > 0 THEN t.output_tokens ELSE t.reported_output_tokens END"
_BOUNDS = (
    ("from_ns", "t.start_ns >= %s"),
    ("to_ns", "t.start_ns < %s"),
    ("min_duration_ns", "t.end_ns - t.start_ns >= %s"),
    ("max_duration_ns", "t.end_ns - t.start_ns <= %s"),
    ("min_cost_nano_usd", f"{COST} >= %s"),
    ("max_cost_nano_usd", f"{COST} <= %s"),
    ("min_feedback", "t.scores > 0 AND t.score_sum >= %s * t.scores"),
    ("max_feedback", "t.scores > 0 AND t.score_sum <= %s * t.scores"),
)
_LISTED = (("collection", "collections"), ("service", "services"), ("label", "labels"))


def conditions(wanted: TraceFilter) -> tuple[list[str], list[Any]]:
    """Conditions on `tracing.traces t`, to be joined by AND, and their parameters."""
    where: list[str] = []
    values: list[Any] = []

    def add(condition: str, *parameters: Any) -> None:
        where.append(condition)
        values.extend(parameters)

    if wanted.tenant is None:
        add(_NOT_A_PART)
    else:
        add("t.tenant = %s", wanted.tenant)
    for name, column in _EQUAL.items():
        if value := getattr(wanted, name):
            add(f"t.{column} = %s", value)
    if wanted.status:
        add("t.status = %s", STATUSES.index(wanted.status))
    for name, condition in _BOUNDS:
        if (bound := getattr(wanted, name)) is not None:
            add(condition, bound)
    for name, column in _LISTED:
        if value := getattr(wanted, name):
            add(f"%s = ANY(t.{column})", value)
    if wanted.guard_finding == "any":
        add("t.findings <> '{}'")
    elif wanted.guard_finding:
        add(
            "EXISTS (SELECT 1 FROM unnest(t.findings) found WHERE found LIKE %s)", finding_pattern(wanted.guard_finding)
        )
    if wanted.text:
        # Found by its words first: few traces have them, and the list is in another order than the index.
        found = (
            "t.trace_id IN (SELECT trace_id FROM tracing.day_texts WHERE words @@ websearch_to_tsquery('simple', %s)"
        )
        if wanted.tenant is None:
            add(found + ")", wanted.text)
        else:
            add(found + " AND tenant = %s)", wanted.text, wanted.tenant)
    if wanted.escalated is not None:
        add("t.stages > 1" if wanted.escalated else "t.stages <= 1")
    return where, values


def where(parts: list[str]) -> str:
    """The clause; nothing for none."""
    return "WHERE " + " AND ".join(parts) if parts else ""
