"""What may be asked about traces, and by whom."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import msgspec
import uuid_utils
from msgspec import structs

from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.rpc import Identity
from headrace_tracing.domain.content import CAPTURES
from headrace_tracing.domain.edits import similarity
from headrace_tracing.domain.filters import ADMIN, TraceFilter, checked, sees
from headrace_tracing.domain.measures import DIMENSIONS, Difference, Measured, Session, differences
from headrace_tracing.domain.prepare import opened
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.spans import Feedback, Span, Summary
from headrace_tracing.domain.summaries import merge
from headrace_tracing.domain.tree import describing, ordered, visible_to
from headrace_tracing.ports import Position, TraceStore, Vault

DEFAULT_LIMIT, MOST = 50, 1000
DEFAULT_ROWS, MOST_ROWS, MOST_DIMENSIONS = 1000, 10_000, 4
BUCKET_LEAST_S, BUCKET_MOST_S = 60, 2_678_400
DAY_NS = 86_400 * 10**9
MOST_SPANS = 10_000
FEEDBACK_CHARS = (("label", 64), ("comment", 4000), ("correction", 16_384), ("final_text", 16_384))
EDITED = "edited"
"""Label of feedback that a final text makes."""

_SPEAKING = frozenset({"assert_identity", "read_all"})
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace as one caller sees it: spans parents before children, feedback oldest first.

    `left_out` spans of a trace with more than `MOST_SPANS` are not in `spans`: those that started last.
    """

    summary: Summary
    spans: list[Span]
    feedback: list[Feedback]
    left_out: int = 0
    capture: str = "off"


@dataclass(frozen=True, slots=True)
class Page:
    """Where in a list somebody is; 0 and the empty string stand for the defaults."""

    limit: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Sums:
    """Which sums are wanted: by which dimensions, in time buckets of so many seconds, and how many rows."""

    group_by: tuple[str, ...] = ()
    bucket_s: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """What somebody says about a trace, or one span of it."""

    trace_id: str
    span_id: str = ""
    score: float | None = None
    label: str = ""
    comment: str = ""
    correction: str = ""
    final_text: str = ""


class Questions:
    """Answers from the store; a tenant sees its own traces, the scope `admin` all of them."""

    def __init__(
        self, store: TraceStore, cleaner: Cleaner, vault: Vault, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._store = store
        self._cleaner = cleaner
        self._vault = vault
        self._now_ns = now_ns

    async def trace(self, trace_id: str, who: Identity, *, full: bool = False) -> Trace:
        """One trace; with `full` its contents as they were sent, where they are kept so.

        Raises:
            BadInput: no trace id.
            NotFound: no such trace, or not the caller's.
            Forbidden: `full` without the scope `admin`.
        """
        trace_id = _checked(trace_id, _TRACE_ID, "trace_id", "32 hexadecimal digits")
        tenant = sees(who)
        if full and ADMIN not in who.scopes:
            raise Forbidden("content as it was sent needs the scope 'admin'", param="full")
        spans, feedback = await asyncio.gather(
            self._store.spans(trace_id, tenant, MOST_SPANS), self._store.feedback(trace_id)
        )
        # Last: while spans arrive, sums that lack some which are shown would be wrong.
        summary = await self._summary(trace_id, tenant)
        cut = len(spans) == MOST_SPANS
        if tenant is not None:
            spans = visible_to(spans, tenant)
            feedback = [entry for entry in feedback if entry.tenant == tenant]
        capture = CAPTURES[min(summary.capture, 1)]
        if full and any(span.sealed for span in spans):
            spans = [structs.replace(span, content=opened(self._vault, span) or span.content) for span in spans]
            capture = "full"
        left_out = max(0, summary.spans - summary.thinned - len(spans)) if cut else 0
        return Trace(summary, ordered(spans), feedback, left_out, capture)

    async def traces(self, wanted: TraceFilter, page: Page, who: Identity) -> tuple[list[Summary], str]:
        """A page of summaries, newest first, and the token of the next page, empty after the last.

        Raises:
            BadInput: a field is out of its bounds.
        """
        limit = _limit(page)
        after = _position(page.token) if page.token else None
        found = await self._store.traces(self._meant(wanted, who), limit + 1, after)
        kept = found[:limit]
        return kept, _token(kept[-1].start_ns, kept[-1].trace_id, kept[-1].tenant) if len(found) > limit else ""

    async def sessions(self, wanted: TraceFilter, page: Page, who: Identity) -> tuple[list[Session], str]:
        """A page of sessions, those with the newest traces first. Returns and raises as `traces`."""
        limit = _limit(page)
        after = _position(page.token, any_id=True) if page.token else None
        found = await self._store.sessions(self._meant(wanted, who), limit + 1, after)
        kept = found[:limit]
        return kept, _token(kept[-1].last_start_ns, kept[-1].session, kept[-1].tenant) if len(found) > limit else ""

    async def aggregate(
        self, wanted: TraceFilter, sums: Sums, who: Identity
    ) -> tuple[list[Measured], TraceFilter, bool]:
        """Sums by dimensions and time, the filter with the times that were counted, and whether there is more.

        Raises:
            BadInput: a dimension that there is not, or a field out of its bounds.
        """
        if len(sums.group_by) > MOST_DIMENSIONS or len(set(sums.group_by)) < len(sums.group_by):
            raise BadInput(f"group_by has at most {MOST_DIMENSIONS} dimensions, each once", param="group_by")
        for name in sums.group_by:
            if name not in DIMENSIONS:
                raise BadInput(f"no dimension {name[:64]!r}; there are {', '.join(DIMENSIONS)}", param="group_by")
        if sums.bucket_s and not BUCKET_LEAST_S <= sums.bucket_s <= BUCKET_MOST_S:
            raise BadInput(f"bucket_s is {BUCKET_LEAST_S} to {BUCKET_MOST_S}, or 0", param="bucket_s")
        if sums.limit > MOST_ROWS:
            raise BadInput(f"limit is 1 to {MOST_ROWS}", param="limit")
        limit = sums.limit or DEFAULT_ROWS
        wanted = self._within_a_day(self._meant(wanted, who))
        found = await self._store.measure(wanted, sums.group_by, sums.bucket_s, limit + 1)
        return found[:limit], wanted, len(found) > limit

    async def compare(
        self, one: TraceFilter, other: TraceFilter, who: Identity
    ) -> tuple[Measured, Measured, list[Difference]]:
        """Two sets of traces side by side. Times default as in `aggregate`. Raises BadInput."""
        sides = []
        for wanted in (one, other):
            found = await self._store.measure(self._within_a_day(self._meant(wanted, who)))
            sides.append(found[0] if found else Measured())
        return sides[0], sides[1], differences(sides[0], sides[1])

    def _meant(self, wanted: TraceFilter, who: Identity) -> TraceFilter:
        meant = checked(wanted, who)
        if meant.user:
            if meant.tenant is None:
                raise BadInput("a user belongs to a tenant: give the tenant too", param="user")
            meant = replace(meant, user=self._vault.digest(meant.tenant, meant.user))
        return meant

    def _within_a_day(self, wanted: TraceFilter) -> TraceFilter:
        to_ns = self._now_ns() if wanted.to_ns is None else wanted.to_ns
        from_ns = max(0, to_ns - DAY_NS) if wanted.from_ns is None else wanted.from_ns
        if from_ns >= to_ns:
            raise BadInput("`to` must be later than `from`", param="to")
        return replace(wanted, from_ns=from_ns, to_ns=to_ns)

    async def add_feedback(self, given: FeedbackGiven, who: Identity) -> Feedback:
        """Tie feedback to a trace, or a span of it; returns it as it was stored.

        A final text is held against the answer that the trace has: its share of kept text becomes the score of an
        `edited` entry, and the text the correction.

        Raises:
            BadInput: nothing was said, or a field is out of its bounds.
            NotFound: no such trace or span, or not the caller's.
        """
        trace_id = _checked(given.trace_id, _TRACE_ID, "trace_id", "32 hexadecimal digits")
        span_id = _checked(given.span_id, _SPAN_ID, "span_id", "16 hexadecimal digits") if given.span_id else ""
        said = (given.label, given.comment, given.correction, given.final_text)
        if given.score is None and not any(said):
            raise BadInput("give at least one of score, label, comment, correction and final_text", param="score")
        if given.score is not None and not (math.isfinite(given.score) and -1 <= given.score <= 1):
            raise BadInput("score is -1 to 1", param="score")
        for field, most in FEEDBACK_CHARS:
            if len(getattr(given, field)) > most:
                raise BadInput(f"{field} has at most {most} characters", param=field)
        tenant = sees(who)
        summary = await self._summary(trace_id, tenant)
        if span_id or given.final_text:
            spans = await self._store.spans(trace_id, tenant, MOST_SPANS)
            spans = spans if tenant is None else visible_to(spans, tenant)
            if span_id and span_id not in {span.span_id for span in spans}:
                raise NotFound(f"the trace has no span {span_id}", param="span_id")
        score, label, correction, source = given.score, given.label, given.correction, "person"
        if given.final_text:
            kept = self._kept(given.final_text, spans)
            if score is None and kept is not None:
                score, source = 2 * kept - 1, "implicit"
            label, correction = label or EDITED, correction or given.final_text
        feedback = self._cleaner.feedback(
            Feedback(
                id=str(uuid_utils.uuid7()),
                trace_id=trace_id,
                tenant=summary.tenant if tenant is None else tenant,
                span_id=span_id,
                score=score,
                label=label,
                comment=given.comment,
                created_ns=self._now_ns(),
                key_id=who.key_id,
                user=self._vault.digest(who.tenant, who.user) if who.user else "",
                correction=correction,
                source=source,
            )
        )
        await self._store.add_feedback(feedback)
        return feedback

    async def keep(self, trace_id: str, who: Identity) -> Summary:
        """Keep what there is of a trace's spans; returns its summary, which says how many are gone already.

        Raises:
            BadInput: no trace id.
            NotFound: no such trace, or not the caller's.
        """
        trace_id = _checked(trace_id, _TRACE_ID, "trace_id", "32 hexadecimal digits")
        tenant = sees(who)
        await self._summary(trace_id, tenant)
        await self._store.save(trace_id, tenant)
        return await self._summary(trace_id, tenant)

    async def erase(self, tenant: str, user: str, who: Identity) -> tuple[int, int]:
        """Delete a tenant's traces, or those of one of its users; returns how many, and how many entries of feedback.

        Raises:
            Forbidden: without the scope `admin`, unless it is the person, or a key that speaks for people.
            BadInput: no tenant.
        """
        if ADMIN not in who.scopes and not _speaks_for(who, tenant, user):
            raise Forbidden("erasing traces needs the scope 'admin', or to be asked for by their user")
        if not tenant or "\0" in tenant or "\0" in user:
            raise BadInput("say whose traces to erase", param="tenant")
        return await self._store.erase(tenant, self._vault.digest(tenant, user) if user else "")

    def _kept(self, final_text: str, spans: Sequence[Span]) -> float | None:
        """How much of the answer is in a final text, 0 to 1; None where the answer is not known.

        Both redacted: what was stored is, and a mask is no edit.
        """
        described = describing(spans)
        if described is None or described.content is None or not described.content.output:
            return None
        answer = described.content.output[0].text
        return similarity(answer, self._cleaner.text(final_text, len(final_text) + 1))

    async def _summary(self, trace_id: str, tenant: str | None) -> Summary:
        found = await self._store.summaries(trace_id)
        if tenant is not None:
            found = [summary for summary in found if summary.tenant == tenant]
        if not found:
            raise NotFound(f"there is no trace {trace_id}", code="trace_not_found", param="trace_id")
        # An admin sees a trace id that several tenants used as one trace, under the name of the one who began it.
        return reduce(merge, sorted(found, key=lambda summary: (not summary.tenant, summary.start_ns)))


def _speaks_for(who: Identity, tenant: str, user: str) -> bool:
    """Whether a caller may have a person's traces erased: as the person, or with a key that speaks for people."""
    if not user or who.tenant != tenant:
        return False
    itself = not who.user and not who.groups
    return who.user == user or (itself and bool(who.scopes & _SPEAKING))


def _checked(value: str, pattern: re.Pattern[str], field: str, shape: str) -> str:
    value = value.lower()
    if not pattern.fullmatch(value):
        raise BadInput(f"{field} is {shape}, not all zero", param=field)
    return value


def _limit(page: Page) -> int:
    if page.limit > MOST:
        raise BadInput(f"limit is 1 to {MOST}", param="limit")
    return page.limit or DEFAULT_LIMIT


def _token(start_ns: int, name: str, tenant: str) -> str:
    raw = msgspec.json.encode((start_ns, name, tenant))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _position(token: str, *, any_id: bool = False) -> Position:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        start_ns, name, tenant = msgspec.json.decode(raw, type=tuple[int, str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadInput("page_token is not one that was given out", param="page_token") from error
    known = any_id or _TRACE_ID.fullmatch(name)
    if not 0 <= start_ns < 2**63 or not known or "\0" in tenant or "\0" in name:
        raise BadInput("page_token is not one that was given out", param="page_token")
    return Position(start_ns, name, tenant)
