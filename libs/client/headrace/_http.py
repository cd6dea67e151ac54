"""HTTP to the platform: one request or one stream of server-sent events, with errors as this package's classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from headrace import errors
from headrace.retry import Refused, Retry

T = TypeVar("T")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECT_S = 5.0
_MOST_TIMEOUT_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Form:
    """Text fields, and files as (name, content, content type)."""

    fields: Mapping[str, str]
    files: Sequence[tuple[str, bytes, str]]


class HttpTransport:
    """A pool of connections to one platform. The pool belongs to the event loop of the first call.

    Args:
        base_url: for example `http://127.0.0.1:7800`; a trailing `/v1` is dropped.
        api_key: sent as a bearer token.
        timeout_s: default for calls that name none.
        retry: when calls are repeated.
        tenant: asked for in place of the key's.
    """

    def __init__(
        self, base_url: str, api_key: str, *, timeout_s: float, retry: Retry, tenant: str | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        if urlsplit(self.base_url).scheme not in ("http", "https"):
            raise errors.NotConfigured(f"{base_url!r} is not an http:// or https:// address")
        self._timeout_s = timeout_s
        self._retry = retry
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={
                "authorization": f"Bearer {api_key}",
                "user-agent": "headrace-python",
                **({"x-headrace-tenant": tenant} if tenant else {}),
            },
            trust_env=urlsplit(self.base_url).hostname not in _LOOPBACK,  # this machine is never behind a proxy
        )

    async def close(self) -> None:
        """Close the connections; open streams end."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        form: Form | None = None,
        query: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        user: str | None = None,
    ) -> T:
        """Make a call, with a body of JSON or a form, and decode its answer as `kind`; `user`: for whom it asks.

        Raises:
            APIError: the platform answered with an error.
            ConnectionFailed: there was no answer.
            TimedOut: `timeout_s` passed, waits between tries included.
        """
        seconds = self._timeout_s if timeout_s is None else timeout_s
        timeout = httpx.Timeout(None, connect=min(_CONNECT_S, seconds))
        request = self._request(method, path, body, query, timeout, form)
        # so that the platform stops working on what nobody waits for
        request.headers["x-headrace-timeout-ms"] = str(min(max(1, round(seconds * 1000)), _MOST_TIMEOUT_MS))
        if user:
            request.headers["x-headrace-user"] = user

        async def once() -> bytes:
            with _translated(self.base_url):
                response = await self._client.send(request)
            _raise_for(response)
            return response.content

        try:
            async with asyncio.timeout(seconds):
                content = await self._retry.run(once, idempotent=method == "GET")
        except TimeoutError as error:
            raise errors.TimedOut(f"no answer within {seconds:g} s") from error
        return _decode(content, kind)

    async def events(self, path: str, body: Any, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """POST and yield the data of each event until `[DONE]`. Closing the generator closes the connection.

        Raises:
            APIError: the platform answered with an error, before or within the stream.
            ConnectionFailed: there was no answer.
            StreamBroken: the stream ended before `[DONE]`.
            TimedOut: nothing came for `timeout_s`.
        """
        seconds = self._timeout_s if timeout_s is None else timeout_s
        request = self._request("POST", path, body, None, httpx.Timeout(seconds, connect=min(_CONNECT_S, seconds)))

        async def once() -> httpx.Response:
            with _translated(self.base_url):
                response = await self._client.send(request, stream=True)
            if response.is_error:
                with _translated(self.base_url):
                    await response.aread()
                _raise_for(response)
            return response

        response = await self._retry.run(once, idempotent=False)
        try:
            try:
                async for event in EventSource(response).aiter_sse():
                    if event.data == "[DONE]":
                        return
                    data = event.data.encode()
                    _raise_within(data, response)
                    yield data
            except httpx.TimeoutException as error:
                raise errors.TimedOut(f"nothing came for {seconds:g} s") from error
            except (httpx.TransportError, SSEError) as error:
                raise errors.StreamBroken(f"the stream broke off: {error}") from error
            raise errors.StreamBroken("the stream ended without [DONE]")
        finally:
            await response.aclose()

    def _request(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, Any] | None,
        timeout: httpx.Timeout,
        form: Form | None = None,
    ) -> httpx.Request:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        return self._client.build_request(
            method,
            path,
            params=given or None,
            content=content,
            data=dict(form.fields) if form else None,
            files=[("file", file) for file in form.files] if form else None,
            headers=headers,
            timeout=timeout,
        )


class _translated:
    """httpx's errors as this package's, for the time before an answer begins."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise Refused(f"nothing answers at {self._base_url}") from error
        if isinstance(error, httpx.TimeoutException):
            raise errors.TimedOut(f"{self._base_url} did not answer in time") from error
        if isinstance(error, httpx.TransportError):
            raise errors.ConnectionFailed(f"the connection to {self._base_url} broke: {error}") from error


class _ErrorBody(msgspec.Struct):
    message: str = ""
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _ErrorEnvelope(msgspec.Struct):
    error: _ErrorBody | None = None


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    body = _error_in(response.content)
    if body is None:
        body = _ErrorBody(message=f"{response.status_code} {response.reason_phrase} from {response.url.path}")
    raise _api_error(body, response.status_code, response)


def _raise_within(data: bytes, response: httpx.Response) -> None:
    """Raise for an event that is an error object; the status of the response was sent long before."""
    body = _error_in(data) if b'"error"' in data else None
    if body is not None:
        raise _api_error(body, errors.status_of(body.type or "", str(body.code or ""), 500), response)


def _error_in(data: bytes) -> _ErrorBody | None:
    try:
        return msgspec.json.decode(data, type=_ErrorEnvelope).error
    except msgspec.DecodeError:
        return None


def _api_error(body: _ErrorBody, status: int, response: httpx.Response) -> errors.APIError:
    code = str(body.code or "")
    return errors.class_of(status, code)(
        body.message,
        status=status,
        code=code,
        param=body.param,
        request_id=response.headers.get("x-headrace-request-id"),
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None  # an HTTP date: the platform sends seconds, a proxy in between may not


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        # not strict: JSON made from protobuf has 64-bit integers as strings
        return msgspec.json.decode(content or b"null", type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise errors.ServerFailed(f"the answer is not what was expected: {error}", status=500) from error
