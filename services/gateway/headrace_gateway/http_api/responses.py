"""`POST /v1/responses`.

Nothing is stored: a response cannot be fetched again, and a request holds all of its conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.http_api.answer_schema import ResponseAnswer
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response, Stream
from headrace_gateway.http_api.responses_events import ResponseEvents, failure_event
from headrace_gateway.http_api.responses_read import read_response
from headrace_gateway.http_api.responses_schema import ResponsesBody
from headrace_gateway.http_api.responses_write import ResponseObject, whole_response
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.streaming import event_stream, keep_alive
from headrace_gateway.pipeline import Pipeline


class ResponsesApi:
    """Text by OpenAI's newer shape. Arguments as `ChatApi`."""

    def __init__(
        self, pipeline: Pipeline, door: Door, max_body_bytes: Callable[[], int], keep_alive_s: Callable[[], float]
    ) -> None:
        self._pipeline = pipeline
        self._door = door
        self._max_body_bytes = max_body_bytes
        self._keep_alive_s = keep_alive_s

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route(
                "POST",
                "/v1/responses",
                self.create,
                body=ResponsesBody,
                answer=ResponseAnswer,
                streams=True,
                repeatable=True,
            )
        ]

    async def create(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response | Stream:
        """Answer a conversation."""
        call, body, tools = read_response(await request.body(self._max_body_bytes()))
        request.follow_client()
        self._door.assert_identity(visit, call.options.user, call.options.groups)
        shown = ResponseObject(visit.ctx.request_id, body, tools)
        if not call.stream:
            answer = await self._pipeline.generate(visit.ctx, call)
            return json_response(await whole_response(answer, shown), visit.ctx)
        keep_alive(request, visit, self._keep_alive_s(), failure_event)
        answer = await self._pipeline.generate(visit.ctx, call)
        return event_stream(visit, answer, ResponseEvents(answer, shown, visit.stream_ended).events())
