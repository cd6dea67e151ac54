"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.calls import GenerateCall
from headrace_gateway.http_api.answers import headrace_headers, json_response
from headrace_gateway.http_api.chat_read import read_chat, read_completion
from headrace_gateway.http_api.chat_schema import ChatBody, CompletionBody
from headrace_gateway.http_api.chat_write import EventWriter, whole_answer
from headrace_gateway.http_api.port import Request, Response, Stream
from headrace_gateway.http_api.router import Route
from headrace_gateway.pipeline import Pipeline

Read = Callable[[bytes], tuple[GenerateCall, ChatBody | CompletionBody]]


class ChatApi:
    """Text by OpenAI's two shapes.

    Args:
        pipeline: serves the calls.
        door: takes the person that a body names.
        max_body_bytes: the limit at this moment.
    """

    def __init__(self, pipeline: Pipeline, door: Door, max_body_bytes: Callable[[], int]) -> None:
        self._pipeline = pipeline
        self._door = door
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("POST", "/v1/chat/completions", self.chat),
            Route("POST", "/v1/completions", self.completion),
        ]

    async def chat(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response | Stream:
        """Answer a conversation."""
        return await self._serve(visit, request, read_chat)

    async def completion(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response | Stream:
        """Go on with a text."""
        return await self._serve(visit, request, read_completion)

    async def _serve(self, visit: Visit, request: Request, read: Read) -> Response | Stream:
        call, body = read(await request.body(self._max_body_bytes()))
        request.follow_client()
        self._door.assert_identity(visit, call.options.user, call.options.groups)
        answer = await self._pipeline.generate(visit.ctx, call)
        if not call.stream:
            return json_response(await whole_answer(answer), visit.ctx)
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        headers = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
        events = EventWriter(answer, include_usage, visit.stream_ended).events()
        return Stream(200, events, [*headers, *headrace_headers(visit.ctx)], [answer.aclose])
