"""The client knows every error that may leave a service, over both transports, as the class of its HTTP status."""

from __future__ import annotations

import grpc
import pytest
from grpc import aio

from headrace import _grpc, errors
from headrace.retry import NEVER
from headrace_kit import errors as kit
from headrace_kit.rpc.status import to_status, trailers

ROWS = [cls for cls in kit.STATUS if cls is not kit.ClientGone]
"""All but the one that nobody is left to read."""


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.__name__)
def test_an_error_of_a_service_is_read_back(cls):
    row = kit.STATUS[cls]
    error = cls("what was wrong", param="model", retry_after_s=2.5)
    status = to_status(error, "req-1")
    transport = _grpc.GrpcTransport("127.0.0.1:1", "k", timeout_s=1, retry=NEVER, tls=False)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    raised = aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailers(status)), details=status.message)
    read = transport._translate(raised, 1)
    assert isinstance(read, errors.APIError)
    assert read.status == row.http
    assert type(read) is errors.class_of(row.http, cls.code)
    assert (read.code, read.request_id, read.retry_after_s) == (error.code, "req-1", 2.5)


def test_every_status_and_type_has_its_class():
    assert {row.http for cls, row in kit.STATUS.items() if cls is not kit.ClientGone} <= set(errors.BY_STATUS)
    assert {row.type for row in kit.STATUS.values()} <= set(errors.BY_TYPE)
