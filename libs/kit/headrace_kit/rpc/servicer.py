"""The decorator around every servicer method: auth, deadline, tracing, metrics, logs and error mapping.

Ray Serve has no interceptors, so this is a decorator; grpc.aio uses the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import uuid_utils
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Histogram

from headrace_kit.errors import Forbidden, HeadraceError, Unauthenticated, row
from headrace_kit.rpc import metadata
from headrace_kit.rpc.call import Call, Identity, current_call
from headrace_kit.rpc.identity import Verifier
from headrace_kit.rpc.status import end_with, to_status
from headrace_kit.rpc.steps import Steps

_log = logging.getLogger(__name__)
_propagator = TraceContextTextMapPropagator()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(frozen=True)
class RpcRuntime:
    """What the decorator needs from the process; a servicer has it as `rpc_runtime`."""

    service: str
    verifier: Verifier
    tracer: trace.Tracer
    seconds: Histogram

    @classmethod
    def create(cls, service: str, verifier: Verifier, tracer: trace.Tracer, registry: CollectorRegistry) -> RpcRuntime:
        """Make one, with its histogram `headrace_<service>_rpc_seconds` in `registry`."""
        seconds = Histogram(
            f"headrace_{service}_rpc_seconds",
            "Time to serve a call.",
            ("method", "code"),
            registry=registry,
            buckets=_BUCKETS,
        )
        return cls(service, verifier, tracer, seconds)


def rpc(*, callers: frozenset[str] | set[str] = frozenset(), public: bool = False) -> Callable[[Any], Any]:
    """Make a servicer method out of `async def Method(self, request, call: Call)`.

    The method is a coroutine function, or an async generator function where the response is a stream.
    Its servicer has an attribute `rpc_runtime`. What it raises ends the call as the error table says.

    Args:
        callers: services that may call it.
        public: anybody may call, and the method itself checks API keys; its spans are its own business too.
    """

    def decorate(method: Any) -> Any:
        if inspect.isasyncgenfunction(method):

            @functools.wraps(method)
            async def stream(self: Any, request: Any, grpc_context: Any = None) -> AsyncIterator[Any]:
                served = _Served(self.rpc_runtime, method.__name__, grpc_context, callers, public)
                try:
                    served.enter()
                    items = method(self, request, served.call)
                    try:
                        with Steps(items, served.call.remaining_s()) as steps:
                            while True:
                                try:
                                    item = await steps.next()
                                except StopAsyncIteration:
                                    break
                                yield item
                    finally:
                        await items.aclose()
                except BaseException as error:
                    await served.failed(error)
                finally:
                    served.leave()

            served_method: Any = stream
        else:

            @functools.wraps(method)
            async def unary(self: Any, request: Any, grpc_context: Any = None) -> Any:
                served = _Served(self.rpc_runtime, method.__name__, grpc_context, callers, public)
                try:
                    served.enter()
                    async with asyncio.timeout(served.call.remaining_s()):
                        return await method(self, request, served.call)
                except BaseException as error:
                    await served.failed(error)
                finally:
                    served.leave()

            served_method = unary
        # Hosts look at the signature: Ray Serve passes the context by the name `grpc_context`.
        served_method.__signature__ = inspect.Signature(
            [
                inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                inspect.Parameter("grpc_context", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None),
            ]
        )
        del served_method.__wrapped__
        return served_method

    return decorate


class _Served:
    """One call from its first to its last line."""

    def __init__(self, runtime: RpcRuntime, name: str, grpc_context: Any, callers: Any, public: bool) -> None:
        self._runtime, self._name, self._context = runtime, name, grpc_context
        self._callers, self._public = callers, public
        self._started = time.monotonic()
        self._code = "OK"
        self._span: trace.Span | None = None
        self._token: Any = None
        self._span_token: Any = None
        self.call = self._read()

    def _read(self) -> Call:
        sent: dict[str, str] = {}
        for key, value in self._context.invocation_metadata() or ():
            if isinstance(value, str):
                sent.setdefault(key, value)
        left = [float(sent[metadata.DEADLINE_MS]) / 1000] if sent.get(metadata.DEADLINE_MS, "").isdecimal() else []
        remaining = getattr(self._context, "time_remaining", lambda: None)()
        if remaining is not None:
            left.append(remaining)
        return Call(
            method=self._name,
            # Only services may say which request they serve: the ledger is unique by it.
            request_id=("" if self._public else sent.get(metadata.REQUEST_ID, "")[:64]) or str(uuid_utils.uuid7()),
            identity=None,
            deadline=time.monotonic() + min(left) if left else None,
            config_hash=sent.get(metadata.CONFIG_HASH, ""),
            traceparent=sent.get(metadata.TRACEPARENT, ""),
            metadata=sent,
        )

    def enter(self) -> None:
        """Authenticate, then open the span; logs of this task carry the call's ids from here on."""
        call = self.call
        if not self._public:
            identity = self._identity(call)
            self.call = call = Call(
                call.method, call.request_id, identity, call.deadline, call.config_hash, call.traceparent, call.metadata
            )
            self._span = self._runtime.tracer.start_span(
                f"{self._runtime.service}.{self._name}",
                context=_propagator.extract({metadata.TRACEPARENT: call.traceparent}),
                kind=SpanKind.SERVER,
                attributes={
                    "rpc.system": "grpc",
                    "rpc.method": self._name,
                    "headrace.request_id": call.request_id,
                    "headrace.tenant": identity.tenant,
                    "headrace.config_hash": call.config_hash,
                },
            )
            self._span_token = _attach(self._span)
        self._token = current_call.set(call)

    def _identity(self, call: Call) -> Identity:
        scheme, _, token = call.metadata.get(metadata.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("this service answers other services only: send a signed service token")
        identity = self._runtime.verifier.identity(token)
        if identity.service not in self._callers:
            raise Forbidden(f"{identity.service} may not call {self._name}")
        return identity

    async def failed(self, error: BaseException) -> None:
        """Map an exception to the call's status. Raises always."""
        if isinstance(error, GeneratorExit):
            self._code = "CANCELLED"
            raise error
        status = to_status(error, self.call.request_id)
        self._code = (
            row(error).grpc.name if not isinstance(error, asyncio.CancelledError | TimeoutError) else "CANCELLED"
        )
        if isinstance(error, TimeoutError):
            self._code = "DEADLINE_EXCEEDED"
        if self._span:
            self._span.set_status(Status(StatusCode.ERROR, status.message))
            self._span.set_attribute("error.type", self._code)
        if self._code == "INTERNAL":
            _log.error("%s failed", self._name, exc_info=error)
        elif isinstance(error, HeadraceError):
            _log.info("%s refused: %s", self._name, error.code)
        if isinstance(error, asyncio.CancelledError):
            raise error
        await end_with(self._context, status, error)

    def leave(self) -> None:
        """Close the span and count the call."""
        if self._span:
            self._span.end()
            _detach(self._span_token)
        if self._token is not None:
            _reset(self._token)
        self._runtime.seconds.labels(self._name, self._code).observe(time.monotonic() - self._started)


def _attach(span: trace.Span) -> Any:
    return context.attach(trace.set_span_in_context(span))


def _detach(token: Any) -> None:
    # A stream may be closed from another task's context; the token then dies with its own. The public
    # `context.detach` logs an error there.
    with contextlib.suppress(ValueError):
        context._RUNTIME_CONTEXT.detach(token)


def _reset(token: Any) -> None:
    with contextlib.suppress(ValueError):
        current_call.reset(token)
