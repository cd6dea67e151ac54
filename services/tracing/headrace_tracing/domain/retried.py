"""Implicit feedback: whoever asks the same question again was not served by the first answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from headrace_tracing.domain.asks import Ask, again, same
from headrace_tracing.domain.spans import Feedback
from headrace_tracing.domain.tree import describing
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import AskStore, TraceStore

RETRIED = "retried"
"""Label of such feedback."""

LONGEST_S = 900
"""Requests are known when they have ended: one that took longer is not held against those before it."""

_OVERLAP_S = 60
"""What was being written during a look, and what clocks differ by."""
_MOST_SPANS = 200
_NAMES = uuid.UUID("6b1f5a0e-6c1e-4f0b-9a51-2f7f5d0c8a34")


@dataclass(frozen=True, slots=True)
class Retrying:
    """What counts as asked again: so many seconds after, this share of words in common; and the score that it gives."""

    within_s: float = 600
    alike: float = 1.0
    score: float | None = None


class Retries:
    """Looks at what came in since the last look. Replicas may all do it: a trace gets such feedback once.

    Args:
        retrying: what holds now; None: nothing is looked at.
    """

    def __init__(
        self,
        asks: AskStore,
        store: TraceStore,
        metrics: Metrics,
        retrying: Callable[[], Retrying | None],
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._asks, self._store, self._metrics = asks, store, metrics
        self._retrying, self._now_s = retrying, now_s
        self._looked_s = 0.0

    async def look(self) -> int:
        """Give feedback on the traces whose questions were asked again; returns how many. Raises NotReady."""
        retrying, began_s = self._retrying(), self._now_s()
        if retrying is None:
            return 0
        found = 0
        from_ns = int((began_s - retrying.within_s - LONGEST_S) * 1e9)
        asks = await self._asks.asks(from_ns, self._looked_s)
        for first, second in again(asks, int(retrying.within_s * 1e9), retrying.alike):
            if await self._in_full(first, second, retrying.alike):
                found += await self._store.add_feedback(_feedback(first, second, retrying.score))
        self._metrics.questions_retried.inc(found)
        self._looked_s = began_s - _OVERLAP_S
        return found

    async def _in_full(self, first: Ask, second: Ask, alike: float) -> bool:
        """Whether it holds for the whole texts, and a person asked, not an agent that brought a tool's result."""
        one, other = await self._question(first), await self._question(second)
        return one is not None and other is not None and same(one, other, alike)

    async def _question(self, ask: Ask) -> str | None:
        described = describing(await self._store.spans(ask.trace_id, ask.tenant, _MOST_SPANS))
        if described is None or described.content is None or not described.content.input:
            return None  # thinned by now, or never kept
        last = described.content.input[-1]
        return last.text if last.role == "user" else None


def _feedback(first: Ask, second: Ask, score: float | None) -> Feedback:
    return Feedback(
        id=str(uuid.uuid5(_NAMES, f"{first.tenant} {first.trace_id}")),
        trace_id=first.trace_id,
        tenant=first.tenant,
        span_id="",
        score=score,
        label=RETRIED,
        comment=f"asked again in trace {second.trace_id}",
        created_ns=second.start_ns,
        user=first.user,
        source="implicit",
    )
