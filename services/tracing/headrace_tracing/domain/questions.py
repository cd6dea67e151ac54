"""What may be asked about traces, and by whom."""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import msgspec
import uuid_utils

from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.rpc import Identity
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.spans import Feedback, Span, Summary
from headrace_tracing.domain.summaries import merge
from headrace_tracing.domain.tree import ordered, visible_to
from headrace_tracing.ports import Position, TraceFilter, TraceStore

ADMIN = "admin"
DEFAULT_LIMIT, MOST = 50, 1000
MOST_SPANS = 10_000
LABEL_CHARS, COMMENT_CHARS = 64, 4000
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


@dataclass(frozen=True, slots=True)
class ListQuestion:
    """Which traces somebody wants to see; 0, None and empty strings stand for the defaults."""

    limit: int = 0
    from_ns: int | None = None
    to_ns: int | None = None
    model: str = ""
    status: str = ""
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """What somebody says about a trace, or one span of it."""

    trace_id: str
    span_id: str = ""
    score: float | None = None
    label: str = ""
    comment: str = ""


class Questions:
    """Answers from the store; a tenant sees its own traces, the scope `admin` all of them."""

    def __init__(self, store: TraceStore, cleaner: Cleaner, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._cleaner = cleaner
        self._now_ns = now_ns

    async def trace(self, trace_id: str, who: Identity) -> Trace:
        """One trace.

        Raises:
            BadInput: no trace id.
            NotFound: no such trace, or not the caller's.
        """
        trace_id = _checked(trace_id, _TRACE_ID, "trace_id", "32 hexadecimal digits")
        tenant = _sees(who)
        summary = await self._summary(trace_id, tenant)
        spans = await self._store.spans(trace_id, tenant, MOST_SPANS)
        full = len(spans) == MOST_SPANS
        feedback = await self._store.feedback(trace_id)
        if tenant is not None:
            spans = visible_to(spans, tenant)
            feedback = [entry for entry in feedback if entry.tenant == tenant]
        return Trace(summary, ordered(spans), feedback, max(0, summary.spans - len(spans)) if full else 0)

    async def traces(self, question: ListQuestion, who: Identity) -> tuple[list[Summary], str]:
        """A page of summaries, newest first, and the token of the next page, empty after the last.

        Raises:
            BadInput: a field is out of its bounds.
        """
        if question.limit > MOST:
            raise BadInput(f"limit is 1 to {MOST}", param="limit")
        if question.status not in ("", "ok", "error"):
            raise BadInput("status is `ok` or `error`, or empty for both", param="status")
        if question.from_ns is not None and question.to_ns is not None and question.from_ns >= question.to_ns:
            raise BadInput("`to` must be later than `from`", param="to")
        if "\0" in question.model:
            raise BadInput("model has a character that no name has", param="model")
        limit = question.limit or DEFAULT_LIMIT
        found = await self._store.traces(
            TraceFilter(
                tenant=_sees(who),
                limit=limit + 1,
                from_ns=question.from_ns,
                to_ns=question.to_ns,
                model=question.model,
                status=question.status,
                after=_position(question.page_token) if question.page_token else None,
            )
        )
        page = found[:limit]
        return page, _token(page[-1]) if len(found) > limit else ""

    async def add_feedback(self, given: FeedbackGiven, who: Identity) -> Feedback:
        """Tie feedback to a trace, or a span of it; returns it as it was stored.

        Raises:
            BadInput: nothing was said, or a field is out of its bounds.
            NotFound: no such trace or span, or not the caller's.
        """
        trace_id = _checked(given.trace_id, _TRACE_ID, "trace_id", "32 hexadecimal digits")
        span_id = _checked(given.span_id, _SPAN_ID, "span_id", "16 hexadecimal digits") if given.span_id else ""
        if given.score is None and not given.label and not given.comment:
            raise BadInput("give at least one of score, label and comment", param="score")
        if given.score is not None and not (math.isfinite(given.score) and -1 <= given.score <= 1):
            raise BadInput("score is -1 to 1", param="score")
        for field, most in (("label", LABEL_CHARS), ("comment", COMMENT_CHARS)):
            if len(getattr(given, field)) > most:
                raise BadInput(f"{field} has at most {most} characters", param=field)
        tenant = _sees(who)
        summary = await self._summary(trace_id, tenant)
        if span_id:
            spans = await self._store.spans(trace_id, tenant, MOST_SPANS)
            if span_id not in {span.span_id for span in (spans if tenant is None else visible_to(spans, tenant))}:
                raise NotFound(f"the trace has no span {span_id}", param="span_id")
        feedback = self._cleaner.feedback(
            Feedback(
                id=str(uuid_utils.uuid7()),
                trace_id=trace_id,
                tenant=summary.tenant if tenant is None else tenant,
                span_id=span_id,
                score=given.score,
                label=given.label,
                comment=given.comment,
                created_ns=self._now_ns(),
                key_id=who.key_id,
                user=who.user,
            )
        )
        await self._store.add_feedback(feedback)
        return feedback

    async def _summary(self, trace_id: str, tenant: str | None) -> Summary:
        found = await self._store.summaries(trace_id)
        if tenant is not None:
            found = [summary for summary in found if summary.tenant == tenant]
        if not found:
            raise NotFound(f"there is no trace {trace_id}", code="trace_not_found", param="trace_id")
        # An admin sees a trace id that several tenants used as one trace, under the name of the one who began it.
        return reduce(merge, sorted(found, key=lambda summary: (not summary.tenant, summary.start_ns)))


def _sees(who: Identity) -> str | None:
    """The tenant whose traces a caller sees; None: all."""
    if ADMIN in who.scopes:
        return None
    if not who.tenant:
        raise Forbidden("traces are seen by their tenant's keys, or with the scope 'admin'")
    return who.tenant


def _checked(value: str, pattern: re.Pattern[str], field: str, shape: str) -> str:
    value = value.lower()
    if not pattern.fullmatch(value):
        raise BadInput(f"{field} is {shape}, not all zero", param=field)
    return value


def _token(last: Summary) -> str:
    raw = msgspec.json.encode((last.start_ns, last.trace_id, last.tenant))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _position(token: str) -> Position:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        start_ns, trace_id, tenant = msgspec.json.decode(raw, type=tuple[int, str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadInput("page_token is not one that was given out", param="page_token") from error
    if not 0 <= start_ns < 2**63 or not _TRACE_ID.fullmatch(trace_id) or "\0" in tenant:
        raise BadInput("page_token is not one that was given out", param="page_token")
    return Position(start_ns, trace_id, tenant)
