"""The tree that the spans of a trace make, also when spans are missing or lie about their parents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

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


def describing(spans: Sequence[Span]) -> Span | None:
    """The span that says what a trace is about: the earliest that names a model, with content if there is one."""
    named = sorted((span for span in spans if span.model), key=lambda span: (span.start_ns, span.span_id))
    return next((span for span in named if span.content is not None), named[0] if named else None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span stands: steps from its root, and the nanoseconds of it that no child covers."""

    depth: int
    self_ns: int


def places(spans: Sequence[Span]) -> list[Place]:
    """The place of each span of `ordered`."""
    depths: dict[str, int] = {}
    covered: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for span in spans:
        parent = span.parent_span_id
        depths[span.span_id] = depths[parent] + 1 if parent in depths and parent != span.span_id else 0
        covered[parent].append((span.start_ns, span.end_ns))
    return [Place(depths[span.span_id], _alone_ns(span, covered.get(span.span_id, []))) for span in spans]


def _alone_ns(span: Span, children: list[tuple[int, int]]) -> int:
    left, at = span.end_ns - span.start_ns, span.start_ns
    for start, end in sorted(children):
        start, end = max(at, start), min(end, span.end_ns)
        if end > start:
            left -= end - start
            at = end
    return left


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
