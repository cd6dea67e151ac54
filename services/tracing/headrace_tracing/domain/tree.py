"""The tree that the spans of a trace make, also when spans are missing or lie about their parents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from headrace_tracing.domain.spans import Span


def ordered(spans: Sequence[Span]) -> list[Span]:
    """All spans, each after its parent, siblings by start time.

    A span whose parent is not there counts as a root. Of spans that are each other's ancestors the earliest does.
    """
    here = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_ns, span.span_id)):
        known = span.parent_span_id in here and span.parent_span_id != span.span_id
        children[span.parent_span_id if known else ""].append(span)
    result: list[Span] = []
    seen: set[str] = set()

    def walk(root: Span) -> None:
        stack = [root]
        while stack:
            span = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            result.append(span)
            stack.extend(reversed(children.get(span.span_id, [])))

    for root in children[""]:
        walk(root)
    if len(result) < len(spans):
        for span in sorted(spans, key=lambda span: (span.start_ns, span.span_id)):
            walk(span)
    return result


def visible_to(spans: Sequence[Span], tenant: str) -> list[Span]:
    """The spans of one tenant: those that name it, and those that name none below such a span.

    Two tenants may have spans under one trace id, because a client chooses its trace id.
    """
    by_id = {span.span_id: span for span in spans}
    owners: dict[str, str] = {}

    def owner(span: Span) -> str:
        passed: dict[str, None] = {}
        while (
            not span.tenant and not (span.span_id in owners or span.span_id in passed) and span.parent_span_id in by_id
        ):
            passed[span.span_id] = None
            span = by_id[span.parent_span_id]
        found = span.tenant or owners.get(span.span_id, "")
        owners.update(dict.fromkeys(passed, found))
        return found

    return [span for span in spans if owner(span) == tenant]
