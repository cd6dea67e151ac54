"""A trace store in memory, for tests: what the database does with SQL, done with the domain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from headrace_kit.errors import NotReady
from headrace_tracing.domain.asks import Ask
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import Measured, Session
from headrace_tracing.domain.profiles import Profile
from headrace_tracing.domain.sampled import Asked, Question
from headrace_tracing.domain.spans import Feedback, Said, Span, Summary
from headrace_tracing.domain.summaries import merge, summarise
from headrace_tracing.domain.thinning import THINNED
from headrace_tracing.ports import Kept, NoRoom, Position, Settled, StoreRefused, Unreadable


class MemoryTraceStore:
    """`TraceStore` on dictionaries.

    Set `away` to make it unreachable, and put names of spans into `refused` to make it refuse them. `writes` holds the
    size of each batch that was tried. It filters by time, model, status, session, arm and tenant; the database's filter
    is tested with the database.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Span] = {}
        self.sums: dict[tuple[str, str], Summary] = {}
        self.said: list[Feedback] = []
        self.away = False
        self.refused: set[str] = set()
        self.writes: list[int] = []
        self.asked: list[TraceFilter] = []
        self.measured: list[Measured] = []
        self.dropped: list[tuple[int, int]] = []
        self._settled: set[str] = set()
        self._thinned: set[tuple[str, str]] = set()

    async def write(self, spans: Sequence[Span]) -> int:
        """See `TraceStore`."""
        self._reach()
        self.writes.append(len(spans))
        if self.refused & {span.name for span in spans}:
            raise StoreRefused("refused")
        new: dict[tuple[str, str], Span] = {}
        for span in spans:
            if (span.trace_id, span.span_id) not in self.kept.keys() | self._thinned:
                new.setdefault((span.trace_id, span.span_id), span)
        self.kept |= new
        self._settled -= {span.trace_id for span in new.values()}
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

    async def traces(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Summary]:
        """See `TraceStore`."""
        self._reach()
        self.asked.append(wanted)
        found = [summary for summary in self._meant(wanted) if after is None or _place(summary) < _place(after)]
        return sorted(found, key=_place, reverse=True)[:limit]

    async def sessions(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Session]:
        """See `TraceStore`."""
        self._reach()
        by_session: dict[tuple[str, str], list[Summary]] = defaultdict(list)
        for summary in self._meant(wanted):
            if summary.session:
                by_session[summary.session, summary.tenant].append(summary)
        found = [
            Session(
                session, tenant, min(one.start_ns for one in of), max(one.end_ns for one in of),
                max(one.start_ns for one in of), len(of), sum(one.status == "error" for one in of),
                sum(one.usage.input_tokens for one in of), sum(one.usage.output_tokens for one in of),
                sum(one.usage.cost_nano_usd for one in of), None,
                min(of, key=lambda one: one.start_ns).facts.question, "", tuple(sorted({one.model for one in of})),
            )
            for (session, tenant), of in by_session.items()
        ]  # fmt: skip

        def place(session: Session) -> tuple[int, str, str]:
            return session.last_start_ns, session.session, session.tenant

        found = [session for session in found if after is None or place(session) < _place(after)]
        return sorted(found, key=place, reverse=True)[:limit]

    async def measure(
        self, wanted: TraceFilter, group_by: Sequence[str] = (), bucket_s: int = 0, limit: int = 1
    ) -> list[Measured]:
        """What the test put into `measured`. See `TraceStore`."""
        self._reach()
        self.asked.append(wanted)
        return self.measured[:limit]

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """See `TraceStore`."""
        self._reach()
        return [feedback for feedback in self.said if feedback.trace_id == trace_id]

    async def add_feedback(self, feedback: Feedback) -> bool:
        """See `TraceStore`."""
        self._reach()
        if any(one.id == feedback.id for one in self.said):
            return False
        self.said.append(feedback)
        key = feedback.trace_id, feedback.tenant
        if key in self.sums:
            said = self.sums[key].said
            labels = (*said.labels, feedback.label) if feedback.label else said.labels
            counted = Said(
                said.score_sum + (feedback.score or 0),
                said.scores + (feedback.score is not None),
                said.count + 1,
                labels,
            )
            self.sums[key] = replace(self.sums[key], said=counted)
        return True

    async def asks(self, from_ns: int, since_s: float) -> list[Ask]:
        """Everything came in since. See `AskStore`."""
        self._reach()
        found = [
            Ask(
                one.tenant, one.facts.user, one.session, one.trace_id, one.start_ns, one.end_ns, one.facts.question,
                one.status != "error",
            )
            for one in self.sums.values()
            if one.start_ns >= from_ns and one.facts.question and (one.facts.user or one.session)
        ]  # fmt: skip
        return sorted(found, key=lambda ask: (ask.who, ask.start_ns))

    async def save(self, trace_id: str, tenant: str | None) -> None:
        """See `TraceStore`."""
        self._reach()
        for key, summary in self.sums.items():
            if key[0] == trace_id and (tenant is None or key[1] in (tenant, "")):
                self.sums[key] = replace(summary, saved=True)

    async def settle(self, outcome: Callable[[Sequence[Summary]], str], quiet_s: float, limit: int) -> Settled:
        """Every trace is quiet at once here. See `TraceStore`."""
        self._reach()
        over = sorted({trace_id for trace_id, _ in self.sums} - self._settled)[:limit]
        outcomes: Counter[str] = Counter()
        spans = 0
        for trace_id in over:
            became = outcome([summary for key, summary in sorted(self.sums.items()) if key[0] == trace_id])
            outcomes[became] += 1
            if became == THINNED:
                for key in [key for key in self.kept if key[0] == trace_id]:
                    at = trace_id, self.kept.pop(key).tenant
                    self._thinned.add(key)
                    self.sums[at] = replace(self.sums[at], thinned=self.sums[at].thinned + 1)
                    spans += 1
        self._settled.update(over)
        return Settled(dict(outcomes), spans)

    async def erase(self, tenant: str, user: str) -> tuple[int, int]:
        """See `TraceStore`."""
        self._reach()
        gone = [key for key, one in self.sums.items() if key[1] == tenant and user in ("", one.facts.user)]
        for key in gone:
            del self.sums[key]
        self.kept = {at: span for at, span in self.kept.items() if (span.trace_id, span.tenant) not in gone}
        kept = [one for one in self.said if (one.trace_id, one.tenant) not in gone]
        said = [one for one in kept if one.tenant == tenant and user in ("", one.user)]
        self.said = [one for one in kept if one not in said]
        return len(gone), len(said)

    async def drop_days_before(self, day: int, *, sealed_before: int) -> int:
        """Everything here is of day 0. See `TraceStore`."""
        self._reach()
        self.dropped.append((day, sealed_before))
        gone = len(self.sums) if day > 0 else 0
        if gone:
            self.sums.clear()
            self.kept.clear()
        return gone

    def _meant(self, wanted: TraceFilter) -> list[Summary]:
        named = {summary.trace_id for summary in self.sums.values() if summary.tenant}
        return [
            summary
            for summary in self.sums.values()
            if (summary.tenant or summary.trace_id not in named)
            and (wanted.tenant is None or summary.tenant == wanted.tenant)
            and (wanted.from_ns is None or summary.start_ns >= wanted.from_ns)
            and (wanted.to_ns is None or summary.start_ns < wanted.to_ns)
            and wanted.model in ("", summary.model)
            and wanted.status in ("", summary.status)
            and wanted.session in ("", summary.session)
            and wanted.arm in ("", summary.facts.arm)
        ]

    def _reach(self) -> None:
        if self.away:
            raise NotReady("the store is away")


def _place(summary: Summary | Position) -> tuple[int, str, str]:
    return summary.start_ns, summary.trace_id, summary.tenant


class MemoryProfileStore:
    """`ProfileStore` on a list: a day's profiles appear in `kept` when they are made, out of `made`."""

    def __init__(self, made: Sequence[Profile] = ()) -> None:
        self.made = list(made)
        self.kept: list[Profile] = []
        self.days: dict[int, bool] = {}

    async def unprofiled(self, today: int) -> list[int]:
        """See `ProfileStore`."""
        days = sorted({profile.day for profile in self.made if profile.day < today})
        return [day for day in days if day not in self.days or (day < today - 1 and not self.days[day])]

    async def make_profiles(self, day: int, *, final: bool) -> None:
        """See `ProfileStore`."""
        self.days[day] = final or self.days.get(day, False)
        self.kept = [profile for profile in self.kept if profile.day != day]
        self.kept += [profile for profile in self.made if profile.day == day]

    async def profiles(self, tenant: str | None, first: int, last: int) -> list[Profile]:
        """See `ProfileStore`."""
        return [one for one in self.kept if first <= one.day <= last and tenant in (None, one.tenant)]

    async def drop_profiles_before(self, day: int) -> None:
        """See `ProfileStore`."""
        self.kept = [profile for profile in self.kept if profile.day >= day]


class MemorySpool:
    """`Spool` on a dictionary. Set `room` to how many batches fit, and put names into `damaged`."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.files: dict[str, list[Span]] = {}
        self.damaged: set[str] = set()
        self._made = 0
        self.left: list[Kept] = []
        """What `open` and `adopt` find next."""

    def open(self) -> list[Kept]:
        """See `Spool`."""
        return self.adopt()

    def adopt(self) -> list[Kept]:
        """See `Spool`."""
        found, self.left = self.left, []
        return found

    def keep(self, spans: Sequence[Span]) -> Kept:
        """See `Spool`."""
        if len(self.files) >= self.room:
            raise NoRoom("buffer_full")
        kept = Kept(str(self._made), len(spans), len(spans))
        self._made += 1
        self.files[kept.name] = list(spans)
        return kept

    def read(self, kept: Kept) -> list[Span]:
        """See `Spool`."""
        if kept.name in self.damaged:
            raise Unreadable(kept.name)
        return self.files[kept.name]

    def drop(self, kept: Kept) -> None:
        """See `Spool`."""
        self.files.pop(kept.name, None)

    def close(self) -> None:
        """See `Spool`."""


class MemoryTopicStore:
    """`TopicStore` on lists. Put questions into `asked`, by day; `profiles` holds what was counted, by `learned`."""

    def __init__(self) -> None:
        self.asked: dict[int, list[Asked]] = {}
        self.vectors: dict[tuple[int, str], dict[Asked, bytes]] = {}
        self.profiles: dict[int, list[Profile]] = {}
        self.claimed: set[int] = set()
        self.ended: dict[int, str] = {}

    async def claim_topics(self, day: int, version: str) -> bool:
        """See `TopicStore`."""
        if day in self.claimed or self.ended.get(day) == version:
            return False
        self.claimed.add(day)
        return True

    async def free_topics(self, day: int) -> None:
        """See `TopicStore`."""
        self.claimed.discard(day)

    async def end_topics(self, day: int) -> None:
        """See `TopicStore`."""
        self.claimed.discard(day)
        self.ended[day] = next(version for at, version in self.vectors if at <= day)

    async def unembedded(self, day: int, version: str, sample: int, most: int) -> list[Asked]:
        """See `TopicStore`."""
        taken: Counter[tuple[str, str]] = Counter()
        picked = []
        for one in sorted(self.asked.get(day, []), key=lambda one: one.trace_id):
            taken[one.tenant, one.model] += 1
            if taken[one.tenant, one.model] <= sample:
                picked.append(one)
        known = self.vectors.get((day, version), {})
        return sorted((one for one in picked[:most] if one not in known), key=lambda one: (one.tenant, one.model))

    async def keep_vectors(self, day: int, version: str, vectors: Sequence[tuple[Asked, bytes]]) -> None:
        """See `TopicStore`."""
        self.vectors.setdefault((day, version), {}).update(vectors)

    async def embedded(self, first: int, last: int, version: str) -> list[tuple[str, str]]:
        """See `TopicStore`."""
        return sorted({(one.tenant, one.model) for one, _, _ in self._of(first, last, version)})

    async def questions(self, tenant: str, model: str, first: int, last: int, version: str) -> list[Question]:
        """See `TopicStore`."""
        return [
            Question(day, one.trace_id, one.collections, one.trace_id.hex(), one.text, vector)
            for one, day, vector in self._of(first, last, version)
            if (one.tenant, one.model) == (tenant, model)
        ]

    async def save_topics(self, learned: int, tenant: str, model: str, profiles: Sequence[Profile]) -> None:
        """See `TopicStore`."""
        kept = [one for one in self.profiles.get(learned, []) if (one.tenant, one.model) != (tenant, model)]
        self.profiles[learned] = [*kept, *profiles]

    def _of(self, first: int, last: int, version: str) -> list[tuple[Asked, int, bytes]]:
        return [
            (one, day, vector)
            for (day, of), vectors in self.vectors.items()
            if first <= day <= last and of == version
            for one, vector in vectors.items()
        ]
