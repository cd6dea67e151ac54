"""A request's record as spans: the root, and one a step. What was said is not in them; see `requests.Said`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import Hop, Request

SERVER, CLIENT, INTERNAL = "server", "client", "internal"


REJECTED, HEDGE, FALLBACK, HIT = "rejected", "hedge", "fallback", "hit"


class RequestMoment(Struct):
    """Something that happened during a span, at nanoseconds since 1970."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


class RequestSpan(Struct):
    """One span. `kind` is `server`, `client` or `internal`; `error` is a code of the error table, or empty. `links` are
    ids of spans of the same trace: a hedge has that of the attempt that it ran beside."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str
    events: list[RequestMoment] = []
    links: tuple[str, ...] = ()


def spans_of(request: Request) -> Iterator[RequestSpan]:
    """The spans, the root first."""
    yield _root(request)
    for place, hop in enumerate(request.hops):
        yield _step(request, hop, place)


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
        request.error, _moments(request),
    )  # fmt: skip


def _moments(request: Request) -> list[RequestMoment]:
    """What happened on the way, in its order. A moment that no step tells is the request's end."""
    found = []
    if request.first_token_us:
        found.append(RequestMoment(genai.EVENT_FIRST_TOKEN, request.started_ns + request.first_token_us * 1000, {}))
    ends = {hop.name: hop.ended_ns or request.ended_ns for hop in request.hops}
    if request.cache == HIT:
        found.append(RequestMoment(genai.EVENT_CACHE_HIT, ends.get("cache", request.ended_ns), {}))
    for told in request.findings:
        at = ends.get(f"guard {told.partition(':')[0]}", request.ended_ns)
        found.append(RequestMoment(genai.EVENT_FINDING, at, {genai.FINDINGS: told}))
    for hop in request.hops:
        given = hop.attributes
        if given.get(genai.VERDICT) == REJECTED:
            found.append(_told(genai.EVENT_ESCALATED, hop.ended_ns or request.ended_ns, given, genai.CONFIDENCE))
        if given.get(genai.REASON) == FALLBACK:
            found.append(_told(genai.EVENT_FALLBACK, hop.started_ns, given))
    return sorted(found, key=lambda moment: moment.time_ns) if len(found) > 1 else found


def _told(name: str, at_ns: int, given: dict[str, Any], *more: str) -> RequestMoment:
    return RequestMoment(name, at_ns, {key: given[key] for key in (genai.DEPLOYMENT, *more) if key in given})


def _step(request: Request, hop: Hop, place: int) -> RequestSpan:
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
        error, [], _beside(request, place) if attributes.get(genai.REASON) == HEDGE else (),
    )  # fmt: skip


def _beside(request: Request, place: int) -> tuple[str, ...]:
    """The attempt of the same stage that a hedge was sent beside: the last before it that is no hedge."""
    stage = request.hops[place].attributes.get(genai.STAGE)
    for hop in reversed(request.hops[:place]):
        given = hop.attributes
        if genai.BILLED in given and given.get(genai.STAGE) == stage and given.get(genai.REASON) != HEDGE:
            return (hop.span_id,)
    return ()
