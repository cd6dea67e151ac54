"""The trace store in memory, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_kit.errors import NotReady
from headrace_tracing.domain.spans import Feedback, Span, Summary
from headrace_tracing.domain.summaries import merge, summarise
from headrace_tracing.ports import Position, StoreRefused, TraceFilter


class MemoryTraceStore:
    """`TraceStore` without a database.

    `away` makes it unreachable; spans whose name is in `refused` are never taken; `writes` are the sizes of batches.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Span] = {}
        self.sums: dict[tuple[str, str], Summary] = {}
        self.said: list[Feedback] = []
        self.away = False
        self.refused: set[str] = set()
        self.writes: list[int] = []

    async def write(self, spans: Sequence[Span]) -> int:
        """See `TraceStore`."""
        self._reach()
        self.writes.append(len(spans))
        if self.refused & {span.name for span in spans}:
            raise StoreRefused("refused")
        new: dict[tuple[str, str], Span] = {}
        for span in spans:
            if (span.trace_id, span.span_id) not in self.kept:
                new.setdefault((span.trace_id, span.span_id), span)
        self.kept |= new
        for summary in summarise(new.values()):
            key = (summary.trace_id, summary.tenant)
            self.sums[key] = merge(self.sums[key], summary) if key in self.sums else summary
        return len(new)

    async def summaries(self, trace_id: str) -> list[Summary]:
        """See `TraceStore`."""
        self._reach()
        return [summary for summary in self.sums.values() if summary.trace_id == trace_id]

    async def spans(self, trace_id: str, tenant: str | None, limit: int) -> list[Span]:
        """See `TraceStore`."""
        self._reach()
        found = [span for span in self.kept.values() if span.trace_id == trace_id]
        found = [span for span in found if tenant is None or span.tenant in (tenant, "")]
        return sorted(found, key=lambda span: span.start_ns)[:limit]

    async def traces(self, wanted: TraceFilter) -> list[Summary]:
        """See `TraceStore`."""
        self._reach()
        named = {summary.trace_id for summary in self.sums.values() if summary.tenant}
        found = [
            summary
            for summary in self.sums.values()
            if (summary.tenant or summary.trace_id not in named)
            and (wanted.tenant is None or summary.tenant == wanted.tenant)
            and (wanted.from_ns is None or summary.start_ns >= wanted.from_ns)
            and (wanted.to_ns is None or summary.start_ns < wanted.to_ns)
            and wanted.model in ("", summary.model)
            and wanted.status in ("", summary.status)
            and (wanted.after is None or _place(summary) < _place(wanted.after))
        ]
        return sorted(found, key=_place, reverse=True)[: wanted.limit]

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """See `TraceStore`."""
        self._reach()
        return [feedback for feedback in self.said if feedback.trace_id == trace_id]

    async def add_feedback(self, feedback: Feedback) -> None:
        """See `TraceStore`."""
        self._reach()
        self.said.append(feedback)

    async def delete_older_than(self, age_s: float, limit: int) -> int:
        """Everything here counts as old. See `TraceStore`."""
        self._reach()
        gone = list(self.sums)[:limit]
        for key in gone:
            del self.sums[key]
            self.kept = {at: span for at, span in self.kept.items() if (span.trace_id, span.tenant) != key}
        return len(gone)

    def _reach(self) -> None:
        if self.away:
            raise NotReady("the store is away")


def _place(summary: Summary | Position) -> tuple[int, str, str]:
    return summary.start_ns, summary.trace_id, summary.tenant
