"""From an endpoint's refusals and failures to ours.

Of what an endpoint says no text passes: it may quote keys, organisations or addresses. Its status, and what of its
error object is a plain identifier, do.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

from headrace_gateway.adapters.openai_http.shapes import UNREADABLE, refusal
from headrace_kit.errors import BadInput, Busy, HeadraceError, TooLarge, Upstream

RETRY_AFTER_S, LONGEST_RETRY_S = 1.0, 3600.0
_CODE = re.compile(r"[a-z]+(_[a-z]+){0,5}")
_PARAM = re.compile(r"[a-z_]{1,32}(\[\d{1,4}\])?(\.[a-z_]{1,32}(\[\d{1,4}\])?){0,4}")
_LONGEST_CODE = 40
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
}
"""What an error object's `code` or `type` means where a status does not say it."""


def error_of_response(status: int, body: bytes, retry_after: str | None) -> HeadraceError:
    """Our error for a response that is not 200."""
    try:
        said = refusal.decode(body).error
    except UNREADABLE:
        said = None
    return _error(status, said if isinstance(said, dict) else {}, retry_after)


def error_of_object(said: dict[str, Any] | str) -> HeadraceError:
    """Our error for an error object in a response of status 200."""
    if isinstance(said, str):
        return _error(500, {}, None)
    code = said.get("status") or said.get("http_status_code") or said.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return _error(code, said, None)
    status = next((_STATUS_OF[kind] for kind in (code, said.get("type")) if kind in _STATUS_OF), 500)
    return _error(status, said, None)


def _error(status: int, said: dict[str, Any], retry_after: str | None) -> HeadraceError:
    if status in (400, 422):
        return _refused(said)
    if status == 413:
        return TooLarge("the request is larger than the model's endpoint takes")
    if status in (401, 403):
        return Upstream("the model's endpoint refused our credentials", code="engine_auth")
    if status == 402 or (status == 429 and "insufficient_quota" in (said.get("code"), said.get("type"))):
        return Upstream("our quota at the model's endpoint is used up", code="engine_quota")
    if status == 404:
        return Upstream("the model's endpoint does not know the model", code="engine_no_model")
    if status in (429, 503, 529):
        return Busy("the model's endpoint is full", code="engine_busy", retry_after_s=_seconds(retry_after))
    if status in (408, 504):
        return Upstream("the model's endpoint ran out of time", code="engine_timeout")
    return Upstream(f"the model's endpoint failed with status {status}", code="engine_failed")


def _refused(said: dict[str, Any]) -> BadInput:
    code, param = said.get("code"), said.get("param")
    if code in _TOO_LONG:
        return BadInput(
            "prompt and answer are longer than the model's context: shorten the prompt, or lower max_tokens",
            code="context_length_exceeded",
            param="messages",
        )
    if not (isinstance(code, str) and len(code) <= _LONGEST_CODE and _CODE.fullmatch(code)):
        code = "invalid_request"
    if not (isinstance(param, str) and _PARAM.fullmatch(param)):
        param = None
    about = f" because of {param}" if param else ""
    return BadInput(f"the model's endpoint refused the request{about} ({code})", code=code, param=param)


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After header, which is a number or a date."""
    if retry_after is None:
        return RETRY_AFTER_S
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            return RETRY_AFTER_S
    return min(max(0.0, seconds), LONGEST_RETRY_S) if seconds == seconds else RETRY_AFTER_S
