"""From a server's refusals and failures to ours."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace_inference.adapters.openai_compatible.events import Event
from headrace_kit.errors import BadInput, Busy, HeadraceError, NotReady, TooLarge, Upstream

RETRY_AFTER_S = 1.0
_MESSAGE_CHARS = 300
_TOO_LONG = (
    "context length",
    "context size",
    "maximum model length",
    "max_model_len",
    "must be <=",  # TGI: "`inputs` tokens + `max_new_tokens` must be <= 4096"
    "must have less than",  # TGI: "`inputs` must have less than 4095 tokens"
    "max_seq_len",
)
_TOO_LONG_FIELDS = ("input_tokens", "input_text")
_INTERNAL = ("Traceback", 'File "', " object at 0x", "://", "/usr/", "/opt/", "/home/", "site-packages")
_STATUS_OF_TYPE = {"validation": 422, "template_error": 422, "tool_error": 422, "overloaded": 429}
_PARAMS = {
    "json_schema": ("invalid_json_schema", "response_format.json_schema.schema"),
    "regex": ("invalid_regex", "response_format.regex"),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a server said of an error; `status` is HTTP's, or what it wrote into an event in its place."""

    status: int
    message: str = ""
    param: str = ""
    type: str = ""


def failure_of_body(status: int, body: bytes) -> Failure:
    """A response that is not 200."""
    try:
        event = msgspec.json.decode(body, type=Event)
    except msgspec.MsgspecError:
        return Failure(status)
    said = failure_of_event(event)
    return Failure(status) if said is None else Failure(status, said.message, said.param, said.type)


def failure_of_event(event: Event) -> Failure | None:
    """An event that is an error, or None when it is not one."""
    if isinstance(event.error, dict):
        return _failure(event.error)
    if isinstance(event.error, str):
        return _failure({"message": event.error, "type": event.error_type})
    if event.object == "error":
        return _failure({"message": event.message, "type": event.type, "code": event.code})
    return None


def _failure(error: Mapping[str, Any]) -> Failure:
    kind = str(error.get("type") or "")
    code = error.get("http_status_code") or error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS_OF_TYPE.get(kind, 500)
    return Failure(status, str(error.get("message") or ""), str(error.get("param") or ""), kind)


def error_of(failure: Failure, response_format: str = "", retry_after: str | None = None) -> HeadraceError:
    """Our error.

    Args:
        failure: what the server said.
        response_format: type of the form that the answer was to have; what a server refuses of a checked request.
        retry_after: the header.
    """
    status = failure.status
    if status == 413:
        return TooLarge("the request is larger than the engine's server takes")
    if status in (400, 422):
        return _refused(failure, response_format)
    if status in (401, 403):
        return Upstream("the engine's server refused our credentials", code="engine_auth")
    if status == 404:
        return NotReady("the engine's server does not serve this model", retry_after_s=RETRY_AFTER_S)
    if status in (429, 503):
        return Busy("the engine's queue is full", code="engine_busy", retry_after_s=_seconds(retry_after))
    return Upstream(f"the engine's server failed with status {status}", code="engine_failed")


def _refused(failure: Failure, response_format: str) -> BadInput:
    said = failure.message
    if failure.type == "exceed_context_size_error" or failure.param in _TOO_LONG_FIELDS:
        return _too_long()
    if any(words in said for words in _TOO_LONG):
        return _too_long()
    code, param = _PARAMS.get(response_format, ("invalid_request", failure.param or None))
    first = said.strip().partition("\n")[0][:_MESSAGE_CHARS]
    if not first or any(word in first for word in _INTERNAL):
        return BadInput("the engine refused the request", code=code, param=param)
    return BadInput(f"the engine refused the request: {first}", code=code, param=param)


def _too_long() -> BadInput:
    return BadInput(
        "prompt and answer are longer than the model's context: shorten the prompt, or lower max_tokens",
        code="context_length_exceeded",
        param="messages",
    )


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After header, which is a number or a date."""
    if retry_after is None:
        return RETRY_AFTER_S
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return RETRY_AFTER_S
