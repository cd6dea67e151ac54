"""What the client raises.

HeadraceError
├── NotConfigured           no address or no key was found
├── ConnectionFailed        nothing answers at the address
├── TimedOut                the caller's own time was up
├── StreamBroken            a stream ended without a finish reason
└── APIError                the platform said no: `status`, `code`, `param`, `request_id`, `retry_after_s`
    ├── BadRequest          400, 413: fix the request
    │   └── ContentBlocked  400 `content_filter`: a guardrail policy refused the text
    ├── AuthenticationFailed  401
    ├── BudgetSpent         402
    ├── PermissionDenied    403
    ├── NotFound            404: no such thing, or not yours
    ├── Conflict            409
    ├── RateLimited         429: wait `retry_after_s`
    └── ServerFailed        5xx: not the caller's fault
        ├── UpstreamFailed  502
        ├── NotReady        503
        └── DeadlineExceeded  504

Both transports raise the same classes.
"""

from __future__ import annotations

from types import MappingProxyType


class HeadraceError(Exception):
    """The root of everything that this package raises on purpose."""


class NotConfigured(HeadraceError):
    """No address or no key: neither an argument, nor the environment, nor `.headrace/env` names one."""


class ConnectionFailed(HeadraceError):
    """Nothing answers at the address, or the connection broke before an answer began."""


class TimedOut(HeadraceError):
    """The call's `timeout_s` passed."""


class StreamBroken(HeadraceError):
    """A stream ended without a finish reason; what was received before is all there is."""


class APIError(HeadraceError):
    """The platform answered with an error.

    Attributes:
        status: HTTP status; over gRPC the one that HTTP would have used.
        code: machine-readable reason, for example `model_not_found`.
        param: the field or resource at fault, for example `messages[0].content`.
        request_id: quote it when you report a problem.
        retry_after_s: seconds after which a retry can succeed; None where no advice was given.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(APIError):
    """The request cannot be served as it is."""


class ContentBlocked(BadRequest):
    """A guardrail policy refused the content."""


class AuthenticationFailed(APIError):
    """No key, or one that is unknown, expired or revoked."""


class BudgetSpent(APIError):
    """The team's budget for this period is used up."""


class PermissionDenied(APIError):
    """The key is good but may not do this."""


class NotFound(APIError):
    """It does not exist, or it is not yours."""


class Conflict(APIError):
    """It exists already, or was changed by somebody else."""


class RateLimited(APIError):
    """A limit was reached; try again after `retry_after_s`."""


class ServerFailed(APIError):
    """The platform failed."""


class UpstreamFailed(ServerFailed):
    """An engine or provider behind the platform failed."""


class NotReady(ServerFailed):
    """The platform is starting, draining, or misses a part that this call needs."""


class DeadlineExceeded(ServerFailed):
    """The platform ran out of the time that the call was given."""


BY_STATUS = MappingProxyType(
    {
        400: BadRequest,
        401: AuthenticationFailed,
        402: BudgetSpent,
        403: PermissionDenied,
        404: NotFound,
        409: Conflict,
        413: BadRequest,
        429: RateLimited,
        500: ServerFailed,
        502: UpstreamFailed,
        503: NotReady,
        504: DeadlineExceeded,
    }
)
"""Class by HTTP status. Others: `ServerFailed` from 500, else `APIError`."""

BY_TYPE = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "insufficient_quota": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "conflict_error": 409,
        "rate_limit_error": 429,
        "client_error": 499,
        "server_error": 500,
        "upstream_error": 502,
        "timeout_error": 504,
    }
)
"""HTTP status by the error object's `type`, for errors that arrive without a status: in a stream, or over gRPC."""

BY_CODE = MappingProxyType({"request_too_large": 413, "not_ready": 503})
"""HTTP status by code, where one type stands for several."""


def status_of(kind: str, code: str, default: int) -> int:
    """The HTTP status of an error that arrived without one; `default` for an unknown type."""
    return BY_CODE.get(code) or BY_TYPE.get(kind, default)


def class_of(status: int, code: str = "") -> type[APIError]:
    """The class that stands for a status and code."""
    if code == "content_filter":
        return ContentBlocked
    return BY_STATUS.get(status, ServerFailed if status >= 500 else APIError)
