"""litellm's exceptions as the platform's errors. By class and status, never by their text.

What the provider said reaches the caller only where the caller can act on it, and without keys or addresses.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any

import httpx

from headrace_kit.errors import BadInput, Blocked, Busy, HeadraceError, NotReady, Upstream

_MOST_CHARS = 400
_DEFAULT_RETRY_S = 1.0
_SECRETS = re.compile(
    r"(?i)(bearer\s+)[^\s\"',]+|\b(?:sk|pk|rk|gsk|xai|key|api)[-_][\w*.-]{8,}|\bAIza[\w-]{10,}|\beyJ[\w.-]{20,}"
)
_ADDRESSES = re.compile(r"\bhttps?://[^\s\"'<>)\]]+")
_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout)\s*[:-]?\s+)+")
_BYTES = re.compile(r"b'.*'|b\".*\"", re.DOTALL)
_OVERLOADED = ("overloaded_error", "UNAVAILABLE")


def translated(error: BaseException, litellm: ModuleType, deployment: str, secret: str, keys: Iterable[str]) -> Any:
    """The error to raise for one of litellm's.

    Args:
        error: what litellm raised.
        litellm: the library.
        deployment: whose call it was.
        secret: name of the secret that holds the key; empty where there is none.
        keys: values that must not be shown.
    """
    if isinstance(error, HeadraceError):
        return error
    while (inner := getattr(error, "original_exception", None)) is not None and isinstance(inner, Exception):
        error = inner  # an error in mid-stream is wrapped
    kinds, status = litellm.exceptions, _status(error)
    said = sentence(error, keys)
    if isinstance(error, kinds.ContextWindowExceededError):
        return BadInput(said, code="context_length_exceeded", param="messages")
    if isinstance(error, kinds.ContentPolicyViolationError):
        return Blocked(f"the provider's content filter refused this: {said}", param="messages")
    if isinstance(error, kinds.UnsupportedParamsError):
        return BadInput(said, code="unsupported")
    if isinstance(error, kinds.AuthenticationError | kinds.PermissionDeniedError) or status in (401, 403):
        return Upstream(_refused_key(deployment, secret), code="engine_auth")
    if isinstance(error, kinds.PaymentRequiredError) or _code(error) == "insufficient_quota":
        return Upstream(f"the provider account of deployment {deployment!r} has no credit left", code="engine_quota")
    if isinstance(error, kinds.RateLimitError) or status == 429:
        return Busy(
            f"the provider of deployment {deployment!r} limits the rate of requests",
            code="engine_rate_limited",
            retry_after_s=retry_after_s(error) or _DEFAULT_RETRY_S,
        )
    if isinstance(error, kinds.Timeout | TimeoutError) or status in (408, 504):
        return Upstream(f"the provider of deployment {deployment!r} did not answer in time", code="engine_timeout")
    if isinstance(error, kinds.NotFoundError) or status == 404:
        return Upstream(f"the provider of deployment {deployment!r} does not know its model", code="engine_no_model")
    if isinstance(error, kinds.BadRequestError | kinds.UnprocessableEntityError) or status in (400, 413, 422):
        param = _param(error)
        code = "invalid_json_schema" if (param or "").startswith("response_format") else "engine_refused"
        return BadInput(f"the provider refused the request: {said}", code=code, param=param)
    if isinstance(error, kinds.ServiceUnavailableError) or status in (503, 529) or _code(error) in _OVERLOADED:
        return NotReady(
            f"the provider of deployment {deployment!r} is overloaded or down",
            retry_after_s=retry_after_s(error) or _DEFAULT_RETRY_S,
        )
    if _unreached(error):
        return NotReady(
            f"the provider of deployment {deployment!r} cannot be reached",
            code="engine_unreached",
            retry_after_s=_DEFAULT_RETRY_S,
        )
    return Upstream(f"the provider of deployment {deployment!r} failed", code="engine_failed")


def _unreached(error: BaseException | None) -> bool:
    """Whether no connection was made, at the root of it."""
    while error is not None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refused_key(deployment: str, secret: str) -> str:
    held = f"the key in secret {secret!r}" if secret else "a call without a key: set credentials"
    return f"the provider of deployment {deployment!r} refused {held}"


def retry_after_s(error: BaseException) -> float | None:
    """What the provider's Retry-After asks for, in seconds."""
    for value in _retry_values(error):
        try:
            wait = float(value)
        except ValueError:
            wait = _until(value)
        if math.isfinite(wait) and wait > 0:
            return min(wait, 3600.0)
    return None


def _retry_values(error: BaseException) -> Iterator[str]:
    headers = (
        getattr(error, "litellm_response_headers", None),
        getattr(getattr(error, "response", None), "headers", None),
    )
    for found in headers:
        if found and (value := found.get("retry-after")):
            yield value
    for detail in _body(error).get("details") or ():  # google.rpc.RetryInfo
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            yield delay.removesuffix("s")


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def sentence(error: BaseException, keys: Iterable[str] = ()) -> str:
    """What the provider said, in one line, without keys and addresses."""
    body = _body(error)
    text = str(body.get("message") or getattr(error, "message", "") or error)
    text = _PREFIX.sub("", " ".join(text.split()))
    for key in keys:
        if key:
            text = text.replace(key, "[key]")
    text = _ADDRESSES.sub("[address]", _SECRETS.sub(r"\1[key]", text))
    return text[:_MOST_CHARS] or "it gave no reason"


def _status(error: BaseException) -> int | None:
    """The HTTP status; litellm's own is the class's, the provider's may stand in its body."""
    for found in (_body(error).get("code"), getattr(error, "status_code", None)):
        if isinstance(found, int):
            return found
    return None


def _code(error: BaseException) -> str:
    """The provider's own name of the kind of error."""
    body = _body(error)
    names = (body.get("status"), body.get("code"), body.get("type"))
    return next((name for name in names if isinstance(name, str) and name), "")


def _param(error: BaseException) -> str | None:
    param = _body(error).get("param")
    return param if isinstance(param, str) else None


def _body(error: BaseException) -> dict[str, Any]:
    """The provider's error object: an attribute, or JSON within litellm's message."""
    for found in (getattr(error, "body", None), _embedded(str(getattr(error, "message", "")))):
        if isinstance(found, dict):
            inner = found.get("error", found)
            if isinstance(inner, dict):
                return inner
    return {}


def _embedded(text: str) -> Any:
    if (quoted := _BYTES.search(text)) is not None:  # litellm quotes some bodies as Python's bytes
        try:
            text = ast.literal_eval(quoted[0]).decode()
        except (ValueError, SyntaxError):
            return None
    start = text.find("{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text[start:])[0]
    except ValueError:
        return None
