"""`/v1/guardrails`: checks, policies, the review queue and the audit, passed on to guardrails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import Nothing, decode, flag, query, whole_number
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import time_text, timestamp
from headrace_gateway.ports import Services
from headrace_kit.errors import BadInput
from headrace_protos.guardrails.v1 import messages_pb2 as pb

_MAX_BODY = 8 * 1024 * 1024
_SMALL_BODY = 64 * 1024
_STATES = ("open", "claimed", "approved", "rejected", "expired")


class Check(Struct, forbid_unknown_fields=True):
    """A text to judge. Within a conversation a value keeps its placeholder."""

    policy: Annotated[str, Meta(min_length=1, max_length=63)]
    text: str
    direction: Literal["input", "retrieved", "tool_call", "tool_result", "output"] = "input"
    conversation_id: Annotated[str, Meta(max_length=200)] = ""


class Unmask(Struct, forbid_unknown_fields=True):
    """A text whose placeholders are to be put back."""

    conversation_id: Annotated[str, Meta(min_length=1, max_length=200)]
    text: str


class Decision(Struct, forbid_unknown_fields=True):
    """Why an item is approved or rejected."""

    reason: Annotated[str, Meta(max_length=2000)] = ""


_check = msgspec.json.Decoder(Check)
_unmask = msgspec.json.Decoder(Unmask)
_decision = msgspec.json.Decoder(Decision)
_nothing = msgspec.json.Decoder(Nothing)
_LIST = frozenset({"state", "policy", "tenant", "limit", "page_token"})
_REPORT = frozenset({"policy", "shadow", "from", "to"})


class GuardrailsApi:
    """Checks on request, and what people do about what was found."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The routes of this part."""
        one = "/v1/guardrails/reviews/{review}"
        return [
            Route("POST", "/v1/guardrails/check", self.check, body=Check),
            Route("POST", "/v1/guardrails/unmask", self.unmask, body=Unmask, traced=False),
            Route("GET", "/v1/guardrails/policies", self.policies),
            Route("GET", "/v1/guardrails/reviews", self.reviews, query=_LIST),
            Route("GET", one, self.review),
            Route("GET", f"{one}/text", self.released),
            Route("POST", f"{one}/claim", self.claim, body=Nothing, body_optional=True),
            Route("POST", f"{one}/approve", self.approve, body=Decision, body_optional=True),
            Route("POST", f"{one}/reject", self.reject, body=Decision),
            Route("GET", "/v1/guardrails/report", self.report, admin=True, query=_REPORT),
            Route("GET", "/v1/guardrails/audit/verify", self.verify, admin=True),
        ]

    async def check(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Judge a text by a policy."""
        body = decode(_check, await request.body(_MAX_BODY))
        sent = pb.CheckRequest(
            policy=body.policy,
            direction=f"DIRECTION_{body.direction.upper()}",
            text=body.text,
            conversation_id=body.conversation_id,
            trace_id=visit.ctx.trace_id,
        )
        verdict = await self._services.call(visit.ctx, "guardrails", "Check", sent)
        answer: dict[str, Any] = {
            "action": action_name(verdict.action),
            "text": verdict.text,
            "findings": [_finding(found) for found in verdict.findings],
            "version": verdict.version,
        }
        if verdict.shadow:
            answer |= {"shadow": True, "would": action_name(verdict.would)}
        if verdict.review_id:
            answer["review_id"] = verdict.review_id
        if verdict.failures:
            answer["failures"] = [
                {"check": one.check, "reason": one.reason, "closed": one.closed} for one in verdict.failures
            ]
        return json_response(answer, visit.ctx)

    async def unmask(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Put the values of the caller's own conversation back."""
        body = decode(_unmask, await request.body(_MAX_BODY))
        sent = pb.UnmaskRequest(conversation_id=body.conversation_id, text=body.text)
        found = await self._services.call(visit.ctx, "guardrails", "Unmask", sent)
        return json_response({"text": found.text, "restored": found.restored}, visit.ctx)

    async def policies(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """The policies and their checks."""
        found = await self._services.call(visit.ctx, "guardrails", "ListPolicies", pb.ListPoliciesRequest())
        return json_response({"object": "list", "data": [_policy(one) for one in found.policies]}, visit.ctx)

    async def reviews(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Escalated texts, oldest first; without a state those that wait."""
        asked = query(request.query, _LIST)
        state = asked.get("state", "")
        if state and state not in _STATES:
            raise BadInput(f"state is one of {', '.join(_STATES)}", param="state")
        sent = pb.ListReviewsRequest(
            state=f"REVIEW_STATE_{state.upper()}" if state else pb.REVIEW_STATE_UNSPECIFIED,
            policy=asked.get("policy", ""),
            tenant=asked.get("tenant", ""),
            limit=whole_number(asked, "limit", 50, 1, 200),
            page_token=asked.get("page_token", ""),
        )
        found = await self._services.call(visit.ctx, "guardrails", "ListReviews", sent)
        data = [_review(one) for one in found.reviews]
        return json_response({"object": "list", "data": data, "next_page_token": found.next_page_token}, visit.ctx)

    async def review(self, visit: Visit, request: Request, path: Mapping[str, str]) -> Response:
        """One escalated text."""
        return await self._one(visit, "GetReview", pb.GetReviewRequest(id=path["review"]))

    async def released(self, visit: Visit, request: Request, path: Mapping[str, str]) -> Response:
        """What was withheld from the caller's own request, once a person approved it."""
        sent = pb.ReleaseReviewRequest(id=path["review"])
        found = await self._services.call(visit.ctx, "guardrails", "ReleaseReview", sent)
        shown = {
            "id": found.id,
            "policy": found.policy,
            "direction": _direction(found.direction),
            "text": found.text,
            "expires_at": time_text(found, "expires_at"),
        }
        return json_response(shown, visit.ctx)

    async def claim(self, visit: Visit, request: Request, path: Mapping[str, str]) -> Response:
        """Make an item the caller's for a while."""
        if body := await request.body(_SMALL_BODY):
            decode(_nothing, body)
        return await self._one(visit, "ClaimReview", pb.ClaimReviewRequest(id=path["review"]))

    async def approve(self, visit: Visit, request: Request, path: Mapping[str, str]) -> Response:
        """Let an escalated text pass when it is sent again."""
        body = await request.body(_SMALL_BODY)
        reason = decode(_decision, body).reason if body else ""
        sent = pb.DecideReviewRequest(id=path["review"], approve=True, reason=reason)
        return await self._one(visit, "DecideReview", sent)

    async def reject(self, visit: Visit, request: Request, path: Mapping[str, str]) -> Response:
        """Refuse an escalated text, and say why."""
        reason = decode(_decision, await request.body(_SMALL_BODY)).reason
        sent = pb.DecideReviewRequest(id=path["review"], approve=False, reason=reason)
        return await self._one(visit, "DecideReview", sent)

    async def report(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """What policies found, or would have done in the shadow."""
        asked = query(request.query, _REPORT)
        between = {name: timestamp(asked.get(name), name) for name in ("from", "to")}
        sent = pb.ReportRequest(policy=asked.get("policy", ""), shadow=flag(asked, "shadow"), **between)
        found = await self._services.call(visit.ctx, "guardrails", "Report", sent)
        rows = [
            {
                "policy": row.policy,
                "version": row.version,
                "direction": _direction(row.direction),
                "check": row.check,
                "kind": row.kind,
                "action": action_name(row.action),
                "shadow": row.shadow,
                "decisions": row.decisions,
            }
            for row in found.rows
        ]
        return json_response({"object": "list", "data": rows}, visit.ctx)

    async def verify(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Whether the audit is whole."""
        found = await self._services.call(visit.ctx, "guardrails", "VerifyAudit", pb.VerifyAuditRequest())
        answer: dict[str, Any] = {"intact": found.intact, "entries": found.entries, "head": found.head}
        if not found.intact:
            answer |= {"broken_at": found.broken_at, "reason": found.reason}
        return json_response(answer, visit.ctx)

    async def _one(self, visit: Visit, method: str, sent: Any) -> Response:
        found = await self._services.call(visit.ctx, "guardrails", method, sent)
        return json_response(_review(found), visit.ctx)


def action_name(action: int) -> str:
    """An action as the API writes it."""
    return pb.Action.Name(action).removeprefix("ACTION_").lower()


def _direction(direction: int) -> str:
    return pb.Direction.Name(direction).removeprefix("DIRECTION_").lower()


def _finding(found: pb.Finding) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "check": found.check,
        "kind": found.kind,
        "start": found.start,
        "end": found.end,
        "score": found.score,
        "action": action_name(found.action),
    }
    return shown | {"version": found.version} if found.version else shown


def _policy(policy: pb.Policy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "version": policy.version,
        "shadow": policy.shadow,
        "checks": [
            {
                "direction": _direction(check.direction),
                "check": check.check,
                "action": action_name(check.action),
                "tier": check.tier,
                "threshold": check.threshold or None,
                "timeout_ms": check.timeout_ms or None,
                "on_failure": "closed" if check.closed_on_failure else "open",
            }
            for check in policy.checks
        ],
    }


def _review(review: pb.Review) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": review.id,
        "state": pb.ReviewState.Name(review.state).removeprefix("REVIEW_STATE_").lower(),
        "tenant": review.tenant,
        "user": review.user,
        "policy": review.policy,
        "version": review.version,
        "direction": _direction(review.direction),
        "findings": [_finding(found) for found in review.findings],
        "trace_id": review.trace_id,
        "created_at": time_text(review, "created_at"),
        "expires_at": time_text(review, "expires_at"),
        "claimed_by": review.claimed_by,
        "claimed_until": time_text(review, "claimed_until"),
        "decided_by": review.decided_by,
        "decided_at": time_text(review, "decided_at"),
        "reason": review.reason,
    }
    return shown | {"text": review.text} if review.text else shown
