"""Requests made from the gateway's own OpenAPI document, right ones and wrong ones: each is answered as it says."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

TIMEOUT = "x-headrace-timeout-ms"


def no_fault_of_the_server(ctx, response, case):
    """No 5xx, but for the 504 that somebody gets who asked for an answer within a few milliseconds."""
    code = response.json()["error"]["code"] if response.status_code == 504 else ""
    if code != "deadline_exceeded" or TIMEOUT not in (case.headers or {}):
        not_a_server_error(ctx, response, case)


CHECKS = [
    content_type_conformance,
    no_fault_of_the_server,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EACH = settings(derandomize=True, database=None, deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_is_answered_as_the_document_says(world, mode):
    headers = {"authorization": f"Bearer {world.env['HEADRACE_ADMIN_KEY']}"}
    answered: Counter[int] = Counter()
    for found in schemathesis.openapi.from_url(f"{world.url}/openapi.json").get_all_operations():
        operation = found.ok()
        if operation.label == "GET /docs":
            continue  # nothing can be said wrongly

        @EACH
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case):
            answered[case.call_and_validate(headers=headers, timeout=60, checks=CHECKS).status_code] += 1

        call()
    assert answered[400] > 0, answered
    assert mode is GenerationMode.NEGATIVE or answered[200] > 0, answered
