"""A request's record as spans: the root, and one a step. What was said is not in them; see `requests.Said`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import Hop, Request

SERVER, CLIENT, INTERNAL = "server", "client", "internal"


class RequestSpan(Struct):
    """One span. `kind` is `server`, `client` or `internal`; `error` is a code of the error table, or empty."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str


def spans_of(request: Request) -> Iterator[RequestSpan]:
    """The spans, the root first."""
    yield _root(request)
    for hop in request.hops:
        yield _step(request, hop)


def _root(request: Request) -> RequestSpan:
    attributes: dict[str, Any] = {
        genai.TENANT: request.tenant,
        genai.REQUEST_ID: request.request_id,
        genai.CONFIG_HASH: request.config_hash,
        genai.KEY_ID: request.key_id,
        "headrace.transport": request.transport,
        genai.TRACK: request.track,
        genai.RELEASE: request.release,
    }
    if request.transport == "http":
        method, _, route = request.route.partition(" ")
        attributes |= {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": request.status,
        }
    name = request.route
    if request.model:
        name = f"{request.operation} {request.model}"
        attributes |= {
            genai.OPERATION_NAME: request.operation,
            genai.PROVIDER_NAME: "headrace",
            genai.REQUEST_MODEL: request.model,
            genai.RESPONSE_ID: request.request_id,
            genai.ARM: request.arm,
        }
        if request.deployment:
            attributes |= {genai.DEPLOYMENT: request.deployment, genai.RESPONSE_MODEL: request.deployment}
        if request.first_token_us:
            attributes[genai.RESPONSE_TIME_TO_FIRST_CHUNK] = request.first_token_us / 1e6
    if request.cache:
        attributes[genai.CACHE] = request.cache
    if request.findings:
        attributes[genai.FINDINGS] = request.findings
    if request.collections:
        attributes[genai.COLLECTIONS] = request.collections
    if request.groundedness is not None:
        attributes[genai.GROUNDEDNESS] = request.groundedness
    if request.rollout_id:
        attributes[genai.ROLLOUT] = request.rollout_id
    if request.canary_rollout_id:
        attributes["headrace.canary.rollout_id"] = request.canary_rollout_id
        attributes["headrace.canary.arm"] = request.canary_arm
    attributes |= request.attributes
    if request.error:
        attributes[genai.ERROR_TYPE] = request.error
    return RequestSpan(
        request.span_id, request.parent_span_id, name, SERVER, request.started_ns, request.ended_ns, attributes,
        request.error,
    )  # fmt: skip


def _step(request: Request, hop: Hop) -> RequestSpan:
    attributes = {genai.REQUEST_ID: request.request_id, genai.TENANT: request.tenant, **hop.attributes}
    kind = INTERNAL
    if genai.BILLED in attributes:
        kind = CLIENT
        attributes[genai.OPERATION_NAME] = request.operation
        attributes[genai.REQUEST_MODEL] = attributes.get(genai.DEPLOYMENT, "")
    # A step that was never closed was cut off with its request.
    error = hop.error or ("" if hop.ended_ns else request.error)
    if error:
        attributes[genai.ERROR_TYPE] = error
    return RequestSpan(
        hop.span_id, request.span_id, hop.name, kind, hop.started_ns, hop.ended_ns or request.ended_ns, attributes,
        error,
    )  # fmt: skip
