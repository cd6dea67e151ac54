"""`/v1/traces` and `POST /v1/feedback`: passed on to tracing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, query, whole_number
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import object_of, time_text, timestamp
from headrace_gateway.ports import Services
from headrace_protos.tracing.v1 import messages_pb2 as pb

_MAX_BODY = 262_144
_LIST = frozenset({"limit", "model", "status", "from", "to", "page_token"})


class Feedback(Struct, forbid_unknown_fields=True):
    """What somebody thinks of an answer: at least one of score, label and comment."""

    trace_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    span_id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None = None
    score: Annotated[float, Meta(ge=-1, le=1)] | None = None
    label: Annotated[str, Meta(max_length=256)] | None = None
    comment: Annotated[str, Meta(max_length=16_384)] | None = None


_feedback = msgspec.json.Decoder(Feedback)


class TracesApi:
    """Traces of the caller's tenant; of all, for admins."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("GET", "/v1/traces", self.list, query=_LIST),
            Route("GET", "/v1/traces/{id}", self.get),
            Route("POST", "/v1/feedback", self.feedback, traced=False, body=Feedback),
        ]

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Traces, newest first."""
        asked = query(request.query, _LIST)
        sent = pb.ListTracesRequest(
            limit=whole_number(asked, "limit", 50, 1, 1000),
            to=timestamp(asked.get("to"), "to"),
            model=asked.get("model", ""),
            status=asked.get("status", ""),
            page_token=asked.get("page_token", ""),
        )
        if (since := timestamp(asked.get("from"), "from")) is not None:
            getattr(sent, "from").CopyFrom(since)
        page = await self._services.call(visit.ctx, "tracing", "ListTraces", sent)
        return json_response(
            {
                "object": "list",
                "data": [_summary(entry) for entry in page.traces],
                "next_page_token": page.next_page_token,
            },
            visit.ctx,
        )

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A trace with all its spans."""
        trace = await self._services.call(
            visit.ctx, "tracing", "GetTrace", pb.GetTraceRequest(trace_id=parameters["id"])
        )
        shown = {
            "trace_id": trace.trace_id,
            "tenant": trace.tenant,
            "start_time": time_text(trace, "start_time"),
            "duration_ms": trace.duration_ms,
            "input_tokens": trace.input_tokens,
            "output_tokens": trace.output_tokens,
            "cost_usd": trace.cost_usd,
            "status": trace.status,
            "spans": [_span(span) for span in trace.spans],
            "feedback": [_said(entry) for entry in trace.feedback],
        }
        return json_response(shown, visit.ctx)

    async def feedback(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Tie a score, label or comment to a trace."""
        body = decode(_feedback, await request.body(_MAX_BODY))
        sent = pb.AddFeedbackRequest(
            trace_id=body.trace_id,
            span_id=body.span_id or "",
            score=body.score,
            label=body.label or "",
            comment=body.comment or "",
        )
        return json_response(
            _said(await self._services.call(visit.ctx, "tracing", "AddFeedback", sent)), visit.ctx, 201
        )


def _summary(found: pb.TraceSummary) -> dict[str, Any]:
    return {
        "trace_id": found.trace_id,
        "tenant": found.tenant,
        "name": found.name,
        "model": found.model,
        "start_time": time_text(found, "start_time"),
        "duration_ms": found.duration_ms,
        "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens,
        "cost_usd": found.cost_usd,
        "status": found.status,
        "spans": found.spans,
    }


def _span(found: pb.Span) -> dict[str, Any]:
    return {
        "span_id": found.span_id,
        "parent_span_id": found.parent_span_id,
        "service": found.service,
        "name": found.name,
        "kind": found.kind,
        "start_time": time_text(found, "start_time"),
        "duration_ms": found.duration_ms,
        "status": found.status,
        "status_message": found.status_message,
        "attributes": object_of(found.attributes),
        "events": [
            {"name": event.name, "time": time_text(event, "time"), "attributes": object_of(event.attributes)}
            for event in found.events
        ],
    }


def _said(found: pb.Feedback) -> dict[str, Any]:
    return {
        "id": found.id,
        "span_id": found.span_id or None,
        "score": found.score if found.HasField("score") else None,
        "label": found.label or None,
        "comment": found.comment or None,
        "created_at": time_text(found, "created_at"),
    }
