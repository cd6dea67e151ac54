"""The platform as evaluation suites see it, over the public HTTP API."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from headrace.calls.chat import chat_body
from headrace.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    HeadraceError,
    NotFound,
    PermissionDenied,
    RateLimited,
)
from headrace.http import AsyncHeadrace
from headrace.types.chat import ChatCompletion, ChatOptions
from headrace_evals.ports import Answer, Arm, AskFailed, Away
from headrace_evals.suite import Options

_AWAY = (ConnectionFailed, AuthenticationFailed, PermissionDenied, RateLimited)
"""What says nothing of a model: nobody was asked, or nobody may ask."""


class HttpPlatform:
    """`headrace_evals.ports.Platform` over a client."""

    def __init__(self, client: AsyncHeadrace) -> None:
        self._client, self._http = client, client._http

    async def ask(self, arm: Arm, messages: Sequence[dict[str, Any]], options: Options) -> Answer:
        """See `Platform`."""
        body = chat_body(list(messages), _options(arm, options))
        began = time.monotonic()
        try:
            said = await self._http.call(
                "POST", "/v1/chat/completions", ChatCompletion, body=body, timeout_s=options.timeout_s
            )
        except _AWAY as error:
            raise Away(str(error)) from error
        except NotFound as error:
            raise Away(f"{error}: there is nobody to ask") from error
        except HeadraceError as error:
            raise AskFailed(getattr(error, "code", "") or type(error).__name__, str(error)) from error
        usage, outcome = said.usage, said.headrace
        return Answer(
            said.text,
            1000 * (time.monotonic() - began),
            float(outcome.cost_usd or 0),
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            outcome.deployment or "",
            outcome.trace_id or "",
            [citation.document_id for citation in outcome.citations],
        )

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """See `Platform`."""
        try:
            found = await self._client.embed(texts, model=model)
        except (*_AWAY, NotFound) as error:
            raise Away(str(error)) from error
        except HeadraceError as error:
            raise AskFailed(getattr(error, "code", "") or type(error).__name__, str(error)) from error
        return [list(vector.embedding) for vector in found.data]


def _options(arm: Arm, options: Options) -> ChatOptions:
    sent: ChatOptions = {"model": arm.model, "temperature": options.temperature, "cache": "bypass"}
    if options.max_tokens is not None:
        sent["max_tokens"] = options.max_tokens
    if options.top_p is not None:
        sent["top_p"] = options.top_p
    if options.seed is not None:
        sent["seed"] = options.seed
    if options.stop:
        sent["stop"] = options.stop
    if options.response_format is not None:
        sent["response_format"] = options.response_format
    if options.collections:
        sent["collections"] = options.collections
    if options.guardrails:
        sent["guardrails"] = options.guardrails
    return sent
