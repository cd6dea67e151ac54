"""Guardrail checks, traces, feedback, usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.calls._base import Calls, Listed, segment
from headrace.types.guardrails import Direction, ReleasedText, Verdict
from headrace.types.traces import DriftFound, Feedback, Status, Trace, TracePage, TraceSummary
from headrace.types.usage import TeamBudget, UsageRow


class OperationCalls(Calls):
    """What happened, and what it cost."""

    async def check_guardrails(self, policy: str, text: str, *, direction: Direction = "input") -> Verdict:
        """What a policy makes of a text. Raises NotFound for an unknown policy."""
        body = {"policy": policy, "direction": direction, "text": text}
        return await self._http.call("POST", "/v1/guardrails/check", Verdict, body=body)

    async def guardrail_policies(self) -> list[dict[str, Any]]:
        """The policies with their versions and checks."""
        return (await self._http.call("GET", "/v1/guardrails/policies", Listed[dict[str, Any]])).data

    async def guardrail_reviews(self, *, state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Escalated texts, oldest first, without the texts; those that wait, unless a state is named.

        Raises PermissionDenied without the scope `review` or `admin`, as the calls below.
        """
        query = {"state": state, "limit": limit}
        return (await self._http.call("GET", "/v1/guardrails/reviews", Listed[dict[str, Any]], query=query)).data

    async def guardrail_review(self, review_id: str) -> dict[str, Any]:
        """One escalated text. Raises NotFound."""
        return await self._http.call("GET", f"/v1/guardrails/reviews/{segment(review_id)}", dict[str, Any])

    async def released_review(self, review_id: str, *, user: str | None = None) -> ReleasedText:
        """What was withheld from your own request, once a person approved it.

        Args:
            review_id: as the refusal, or the end of the answer, named it.
            user: for whom you ask, where the request did; needs the scope `assert_identity`.

        Raises:
            Conflict: nobody has decided yet.
            BadRequest: it was rejected, or a policy withholds it.
            NotFound: it is not yours, nobody decided in time, or it was approved too long ago.
        """
        path = f"/v1/guardrails/reviews/{segment(review_id)}/text"
        return await self._http.call("GET", path, ReleasedText, user=user)

    async def decide_review(self, review_id: str, *, approve: bool, reason: str = "") -> dict[str, Any]:
        """Approve or reject an escalated text; to reject one needs a reason. Raises Conflict, NotFound."""
        verb = "approve" if approve else "reject"
        path = f"/v1/guardrails/reviews/{segment(review_id)}/{verb}"
        return await self._http.call("POST", path, dict[str, Any], body={"reason": reason})

    async def guardrail_report(self, *, policy: str | None = None, shadow: bool | None = None) -> list[dict[str, Any]]:
        """How often policies found what; with `shadow` what they would have done. Needs an admin key."""
        query = {"policy": policy, "shadow": "true" if shadow else None}
        return (await self._http.call("GET", "/v1/guardrails/report", Listed[dict[str, Any]], query=query)).data

    async def verify_guardrail_audit(self) -> dict[str, Any]:
        """Whether the chain of decisions is whole, how long it is, and the hash of its end. Needs an admin key."""
        return await self._http.call("GET", "/v1/guardrails/audit/verify", dict[str, Any])

    async def traces(
        self,
        /,
        *,
        limit: int | None = None,
        model: str | None = None,
        status: Status | None = None,
        page_token: str | None = None,
        **filters: str | float | bool | None,
    ) -> TracePage:
        """Your team's traces, newest first, without spans; `limit` from 1 to 1000.

        `filters` are the other query parameters of `GET /v1/traces`, for example `deployment`, `session`, `text`,
        `guard_finding`, `min_feedback`, `min_duration_ms`. An unknown one raises BadRequest.
        """
        query = {"limit": limit, "model": model, "status": status, "page_token": page_token, **filters}
        return await self._http.call("GET", "/v1/traces", TracePage, query=query)

    async def trace(self, trace_id: str, *, full: bool = False) -> Trace:
        """One trace with its spans. Spans arrive a moment after the answer. Raises NotFound.

        With `full` its content as it was, where it was kept so; that needs a key with the scope `admin`.
        """
        query = {"full": "true"} if full else {}
        return await self._http.call("GET", f"/v1/traces/{segment(trace_id)}", Trace, query=query)

    async def drift(
        self,
        *,
        model: str | None = None,
        collection: str | None = None,
        feature: str | None = None,
        day: str | None = None,
        days: int | None = None,
        reference: tuple[str, str] | None = None,
        tenant: str | None = None,
        drifted: bool = False,
        limit: int | None = None,
    ) -> DriftFound:
        """Requests of some days held against those of a time before, by model and collection.

        Args:
            feature: `input_chars`, `output_tokens`, `language`, `topic`, `refused`, `groundedness`, `retrieval_score`
                or `feedback`. None: all.
            day: the last day that is looked at, for example `2026-11-28` (UTC). None: yesterday.
            days: how many days are looked at together. None: the platform's.
            reference: first and last day that they are held against. None: those before, as the platform's config says.
            tenant: another team's; needs an admin key.
            drifted: only what has drifted.
            limit: 1 to 1000.
        """
        first, last = reference or (None, None)
        query = {
            "model": model, "collection": collection, "feature": feature, "day": day, "days": days,
            "reference_from": first, "reference_to": last, "tenant": tenant, "limit": limit,
            "drifted": "true" if drifted else None,
        }  # fmt: skip
        return await self._http.call("GET", "/v1/drift", DriftFound, query=query)

    async def keep_trace(self, trace_id: str) -> TraceSummary:
        """Keep the spans of a trace, as long as the trace itself is kept; what is gone of them does not come back."""
        return await self._http.call("POST", f"/v1/traces/{segment(trace_id)}/keep", TraceSummary)

    async def send_feedback(
        self,
        trace_id: str,
        *,
        span_id: str | None = None,
        score: float | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Tie a score from -1 to 1, a label or a comment to a trace; at least one of the three."""
        given = {"trace_id": trace_id, "span_id": span_id, "score": score, "label": label, "comment": comment}
        body = {key: value for key, value in given.items() if value is not None}
        return await self._http.call("POST", "/v1/feedback", Feedback, body=body)

    async def budget(self, *, tenant: str | None = None) -> TeamBudget:
        """Your team's budgets and limits; with an admin key also another team's."""
        return await self._http.call("GET", "/v1/budget", TeamBudget, query={"tenant": tenant})

    async def usage(
        self, *, group_by: Sequence[str] = ("day", "model"), start: str | None = None, end: str | None = None
    ) -> list[UsageRow]:
        """Your team's requests, tokens and cost.

        Args:
            group_by: dimensions, for example `day`, `model`, `deployment`, `arm`.
            start, end: days (`2026-11-01`) or RFC 3339 times; from `start` on, before `end`. None: the platform's.
        """
        query = {"group_by": ",".join(group_by), "from": start, "to": end}
        rows = (await self._http.call("GET", "/v1/usage", Listed[dict[str, Any]], query=query)).data
        return [_row(row, group_by) for row in rows]


def _row(row: dict[str, Any], group_by: Sequence[str]) -> UsageRow:
    return UsageRow(
        groups={name: str(row.get(name, "")) for name in group_by},
        requests=int(row.get("requests", 0)),
        input_tokens=int(row.get("input_tokens", 0)),
        output_tokens=int(row.get("output_tokens", 0)),
        cost_usd=str(row.get("cost_usd", "0")),
        overhead_usd=str(row.get("overhead_usd", "0")),
        cache_hits=int(row.get("cache_hits", 0)),
        saved_usd=str(row.get("saved_usd", "0")),
    )
