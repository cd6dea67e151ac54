"""Errors that may leave a service, and the one table that maps them to both transports.

HeadraceError        ours, no detail leaves
├── BadInput         the caller can fix it
│   ├── TooLarge     the body is over the limit
│   └── Blocked      a guardrail policy said no
├── Unauthenticated  no key, or a bad one
├── Forbidden        the key may not do this
├── NotFound         no such thing, or not yours
├── Conflict         exists already, or changed meanwhile
├── Busy             over a limit or full: wait `retry_after_s`
├── BudgetSpent      the tenant's money is used up
├── ClientGone       the caller went away
├── Upstream         something that we called failed
├── NotReady         starting, draining, or a needed part is down
└── DeadlineExceeded the caller's time is up
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from grpc import StatusCode


class HeadraceError(Exception):
    """The root. Its own message is logged; the caller only reads that it was our fault.

    Args:
        message: what was wrong and what to do, for the caller.
        code: machine-readable reason; the class's own by default.
        param: the field or resource at fault, for example `messages[0].content`.
        retry_after_s: seconds after which a retry can succeed.
    """

    code = "internal_error"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.retry_after_s = retry_after_s


class BadInput(HeadraceError):
    """The request cannot be served as it is; the caller can fix it."""

    code = "invalid_request"


class TooLarge(BadInput):
    """The body is larger than the limit."""

    code = "request_too_large"


class Blocked(BadInput):
    """A guardrail policy refused the content."""

    code = "content_filter"


class Unauthenticated(HeadraceError):
    """No key, or one that is unknown, expired or revoked."""

    code = "invalid_api_key"


class Forbidden(HeadraceError):
    """The key is good but may not do this."""

    code = "permission_denied"


class NotFound(HeadraceError):
    """It does not exist, or it is not the caller's: the two are not told apart."""

    code = "not_found"


class Conflict(HeadraceError):
    """It exists already, or was changed by somebody else."""

    code = "conflict"


class Busy(HeadraceError):
    """A limit was reached, or a queue is full; try again after `retry_after_s`."""

    code = "rate_limit_exceeded"


class BudgetSpent(HeadraceError):
    """The tenant's budget for this period is used up."""

    code = "budget_exceeded"


class ClientGone(HeadraceError):
    """The caller hung up; nobody reads this."""

    code = "client_closed_request"


class Upstream(HeadraceError):
    """An engine, provider or service that was called failed."""

    code = "upstream_failed"


class NotReady(HeadraceError):
    """Starting, draining, or a part that is needed is down."""

    code = "not_ready"


class DeadlineExceeded(HeadraceError):
    """The caller's time was up before the answer was there."""

    code = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class Row:
    """How an error looks outside: HTTP status, gRPC status, OpenAI's error type."""

    http: int
    grpc: StatusCode
    type: str


STATUS = MappingProxyType(
    {
        HeadraceError: Row(500, StatusCode.INTERNAL, "server_error"),
        BadInput: Row(400, StatusCode.INVALID_ARGUMENT, "invalid_request_error"),
        TooLarge: Row(413, StatusCode.INVALID_ARGUMENT, "invalid_request_error"),
        Blocked: Row(400, StatusCode.FAILED_PRECONDITION, "invalid_request_error"),
        Unauthenticated: Row(401, StatusCode.UNAUTHENTICATED, "authentication_error"),
        Forbidden: Row(403, StatusCode.PERMISSION_DENIED, "permission_error"),
        NotFound: Row(404, StatusCode.NOT_FOUND, "not_found_error"),
        Conflict: Row(409, StatusCode.ABORTED, "conflict_error"),
        Busy: Row(429, StatusCode.RESOURCE_EXHAUSTED, "rate_limit_error"),
        BudgetSpent: Row(402, StatusCode.RESOURCE_EXHAUSTED, "insufficient_quota"),
        ClientGone: Row(499, StatusCode.CANCELLED, "client_error"),
        Upstream: Row(502, StatusCode.UNAVAILABLE, "upstream_error"),
        NotReady: Row(503, StatusCode.UNAVAILABLE, "server_error"),
        DeadlineExceeded: Row(504, StatusCode.DEADLINE_EXCEEDED, "timeout_error"),
    }
)
"""Every error class has a row; a subclass without one takes its base's."""

INTERNAL_MESSAGE = "something went wrong on our side; quote the request id when you report it"
"""What a caller reads instead of an unexpected exception's text."""


def row(error: BaseException) -> Row:
    """The row of an exception; anything that is not a `HeadraceError` is ours (500)."""
    bases = (base for base in type(error).__mro__ if issubclass(base, HeadraceError))
    return next((STATUS[base] for base in bases if base in STATUS), STATUS[HeadraceError])


def public_message(error: BaseException) -> str:
    """What the caller may read: the message of a typed error, and nothing of one that is our fault."""
    if isinstance(error, HeadraceError) and type(error) is not HeadraceError:
        return error.message
    return INTERNAL_MESSAGE
