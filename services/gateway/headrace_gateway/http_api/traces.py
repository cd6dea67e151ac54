"""`/v1/traces`, `/v1/sessions`, `/v1/analytics` and `POST /v1/feedback`: passed on to tracing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.arms.ratings import Ratings
from headrace_gateway.http_api.answers import JSON, headrace_headers, json_response
from headrace_gateway.http_api.otlp import MAX_EXPORT_BYTES, PROTOBUF, taken_as
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import Nothing, decode, flag, query, whole_number
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import shown, timestamp
from headrace_gateway.ports import Services
from headrace_kit.errors import BadInput
from headrace_protos.tracing.v1 import messages_pb2 as pb

_MAX_BODY = 262_144
_FILTER = frozenset(field.name for field in pb.TraceFilter.DESCRIPTOR.fields)
_SIDES = frozenset(f"{side}_{name}" for side in "ab" for name in _FILTER)
_DRIFT = frozenset(field.name for field in pb.GetDriftRequest.DESCRIPTOR.fields)
_PAGE = frozenset({"limit", "page_token"})


class Feedback(Struct, forbid_unknown_fields=True):
    """What somebody thinks of an answer: at least one of score, label, comment, correction and final text."""

    trace_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    span_id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None = None
    score: Annotated[float, Meta(ge=-1, le=1)] | None = None
    label: Annotated[str, Meta(max_length=256)] | None = None
    comment: Annotated[str, Meta(max_length=16_384)] | None = None
    correction: Annotated[str, Meta(max_length=16_384)] | None = None
    final_text: Annotated[str, Meta(max_length=16_384)] | None = None


_feedback = msgspec.json.Decoder(Feedback)
_nothing = msgspec.json.Decoder(Nothing)


class TracesApi:
    """Traces of the caller's tenant; of all, for admins."""

    def __init__(self, services: Services, ratings: Ratings) -> None:
        self._services, self._ratings = services, ratings

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("GET", "/v1/traces", self.list, query=_FILTER | _PAGE),
            Route("POST", "/v1/traces", self.export, traced=False, media_type=PROTOBUF),
            Route("DELETE", "/v1/traces", self.erase, admin=True, traced=False, query=frozenset({"tenant", "user"})),
            Route("GET", "/v1/traces/{id}", self.get, query=frozenset({"full"})),
            Route("POST", "/v1/traces/{id}/keep", self.keep, traced=False, body=Nothing, body_optional=True),
            Route("GET", "/v1/sessions", self.sessions, query=_FILTER | _PAGE),
            Route("GET", "/v1/analytics", self.aggregate, query=_FILTER | {"group_by", "bucket_s", "limit"}),
            Route("GET", "/v1/analytics/compare", self.compare, query=_FILTER | _SIDES),
            Route("GET", "/v1/drift", self.drift, query=_DRIFT),
            Route("POST", "/v1/feedback", self.feedback, traced=False, body=Feedback),
        ]

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Traces, newest first."""
        asked = query(request.query, _FILTER | _PAGE)
        sent = pb.ListTracesRequest(
            limit=whole_number(asked, "limit", 50, 1, 1000),
            page_token=asked.get("page_token", ""),
            filter=filter_of(asked),
        )
        page = await self._services.call(visit.ctx, "tracing", "ListTraces", sent)
        return json_response(_page(page.traces, page.next_page_token), visit.ctx)

    async def export(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """OTLP over HTTP: spans of an application become traces of the key's tenant."""
        kind = request.header("content-type").partition(";")[0].strip().lower()
        if kind not in (PROTOBUF, JSON[1]):
            raise BadInput(
                f"OTLP comes as {PROTOBUF} or as {JSON[1]}", code="unsupported_media_type", param="content-type"
            )
        sent = pb.ExportSpansRequest(
            body=await request.body(MAX_EXPORT_BYTES),
            content_type=kind,
            content_encoding=request.header("content-encoding").strip().lower(),
        )
        made = taken_as(await self._services.call(visit.ctx, "tracing", "ExportSpans", sent))
        body = made.SerializeToString() if kind == PROTOBUF else MessageToJson(made, indent=None).encode()
        return Response(200, body, [("content-type", kind), *headrace_headers(visit.ctx)])

    async def erase(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Delete a tenant's traces, or those of one of its users."""
        asked = query(request.query, frozenset({"tenant", "user"}))
        sent = pb.EraseTracesRequest(tenant=asked.get("tenant", ""), user=asked.get("user", ""))
        return json_response(shown(await self._services.call(visit.ctx, "tracing", "EraseTraces", sent)), visit.ctx)

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A trace with all its spans."""
        asked = query(request.query, frozenset({"full"}))
        sent = pb.GetTraceRequest(trace_id=parameters["id"], full=flag(asked, "full"))
        return json_response(shown(await self._services.call(visit.ctx, "tracing", "GetTrace", sent)), visit.ctx)

    async def keep(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Keep the spans of a trace that are there still."""
        if body := await request.body(_MAX_BODY):
            decode(_nothing, body)
        sent = pb.KeepTraceRequest(trace_id=parameters["id"])
        return json_response(shown(await self._services.call(visit.ctx, "tracing", "KeepTrace", sent)), visit.ctx)

    async def sessions(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Conversations, those with the newest traces first."""
        asked = query(request.query, _FILTER | _PAGE)
        sent = pb.ListSessionsRequest(
            limit=whole_number(asked, "limit", 50, 1, 1000),
            page_token=asked.get("page_token", ""),
            filter=filter_of(asked),
        )
        page = await self._services.call(visit.ctx, "tracing", "ListSessions", sent)
        return json_response(_page(page.sessions, page.next_page_token), visit.ctx)

    async def aggregate(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Sums over traces by dimensions and time."""
        asked = query(request.query, _FILTER | {"group_by", "bucket_s", "limit"})
        sent = pb.AggregateRequest(
            filter=filter_of(asked),
            group_by=[name for name in asked.get("group_by", "").split(",") if name],
            bucket_s=whole_number(asked, "bucket_s", 0, 0, 2_678_400),
            limit=whole_number(asked, "limit", 1000, 1, 10_000),
        )
        found = shown(await self._services.call(visit.ctx, "tracing", "Aggregate", sent))
        return json_response({"object": "list", "data": found.pop("rows"), **found}, visit.ctx)

    async def compare(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Two sets of traces side by side."""
        asked = query(request.query, _FILTER | _SIDES)
        sent = pb.CompareRequest(
            filter=filter_of({name: value for name, value in asked.items() if name in _FILTER}),
            a=filter_of(asked, "a_"),
            b=filter_of(asked, "b_"),
        )
        return json_response(shown(await self._services.call(visit.ctx, "tracing", "Compare", sent)), visit.ctx)

    async def drift(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Requests of some days held against those of a time before."""
        asked = query(request.query, _DRIFT)
        texts = {name: asked[name] for name in _DRIFT - {"days", "limit", "drifted"} if name in asked}
        sent = pb.GetDriftRequest(
            **texts,
            days=whole_number(asked, "days", 0, 0, 400),
            limit=whole_number(asked, "limit", 200, 1, 1000),
            drifted=flag(asked, "drifted"),
        )
        found = shown(await self._services.call(visit.ctx, "tracing", "GetDrift", sent))
        return json_response({"object": "list", "data": found.pop("drifts"), **found}, visit.ctx)

    async def feedback(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Tie a score, label, comment or correction to a trace."""
        body = decode(_feedback, await request.body(_MAX_BODY))
        sent = pb.AddFeedbackRequest(
            trace_id=body.trace_id,
            span_id=body.span_id or "",
            score=body.score,
            label=body.label or "",
            comment=body.comment or "",
            correction=body.correction or "",
            final_text=body.final_text or "",
        )
        said = await self._ratings.add(visit.ctx, sent)
        told = {name: None if value == "" else value for name, value in shown(said).items()}
        return json_response(told, visit.ctx, 201)


def filter_of(asked: Mapping[str, str], prefix: str = "") -> pb.TraceFilter:
    """The filter that query parameters say, those that begin with `prefix`. Raises BadInput."""
    made = pb.TraceFilter()
    for field in pb.TraceFilter.DESCRIPTOR.fields:
        name = prefix + field.name
        text = asked.get(name)
        if not text:
            continue
        if field.message_type is Timestamp.DESCRIPTOR:
            if (at := timestamp(text, name)) is not None:
                getattr(made, field.name).CopyFrom(at)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
            setattr(made, field.name, _number(text, name))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            setattr(made, field.name, flag(asked, name))
        else:
            setattr(made, field.name, text)
    return made


def _number(text: str, param: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{param} is a number", param=param)
    return value


def _page(entries: Any, token: str) -> dict[str, Any]:
    return {"object": "list", "data": [shown(entry) for entry in entries], "next_page_token": token}
