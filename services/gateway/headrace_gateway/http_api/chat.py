"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.calls import GenerateCall
from headrace_gateway.http_api.answer_schema import ChatAnswer, CompletionAnswer
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.chat_read import read_chat, read_completion
from headrace_gateway.http_api.chat_schema import ChatBody, CompletionBody
from headrace_gateway.http_api.chat_write import EventWriter, whole_answer
from headrace_gateway.http_api.port import Request, Response, Stream
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.streaming import event, event_stream, keep_alive
from headrace_gateway.pipeline import Pipeline

Read = Callable[[bytes], tuple[GenerateCall, ChatBody | CompletionBody]]


class ChatApi:
    """Text by OpenAI's two shapes.

    Args:
        pipeline: serves the calls.
        door: takes the person that a body names.
        max_body_bytes: the limit at this moment.
        keep_alive_s: after how many seconds without anything to send a stream shows that it lives, at this moment.
    """

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
                "/v1/chat/completions",
                self.chat,
                body=ChatBody,
                answer=ChatAnswer,
                streams=True,
                repeatable=True,
            ),
            Route(
                "POST",
                "/v1/completions",
                self.completion,
                body=CompletionBody,
                answer=CompletionAnswer,
                streams=True,
                repeatable=True,
            ),
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
        echo = body.prompt if isinstance(body, CompletionBody) and body.echo and isinstance(body.prompt, str) else ""
        if not call.stream:
            answer = await self._pipeline.generate(visit.ctx, call)
            return json_response(await whole_answer(answer, echo), visit.ctx)
        keep_alive(request, visit, self._keep_alive_s(), event)
        answer = await self._pipeline.generate(visit.ctx, call)
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return event_stream(visit, answer, EventWriter(answer, include_usage, visit.stream_ended, echo).events())
