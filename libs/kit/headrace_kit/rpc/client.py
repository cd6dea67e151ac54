"""Calls to another service: one channel each, signed identity, deadline, trace context, typed errors."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
from grpc import aio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace_kit.rpc import metadata
from headrace_kit.rpc.call import Call, Identity
from headrace_kit.rpc.identity import Signer
from headrace_kit.rpc.status import from_rpc_error

S = TypeVar("S")
_propagator = TraceContextTextMapPropagator()
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outbound:
    """What travels with a call: for whom, which request, until when, under which config and trace.

    `deadline` is on the clock of `time.monotonic`. Without a `traceparent` the current span is the parent.
    """

    identity: Identity
    request_id: str = ""
    deadline: float | None = None
    config_hash: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, call: Call) -> Outbound:
        """Pass on what a call being served came with; the current span becomes the parent."""
        return cls(call.caller, call.request_id, call.deadline, call.config_hash)

    def within(self, seconds: float) -> Outbound:
        """The same with a deadline at most `seconds` from now."""
        limit = time.monotonic() + seconds
        return replace(self, deadline=limit if self.deadline is None else min(limit, self.deadline))


class Peer:
    """Another service. One per service and process: it owns the channel, which reconnects by itself.

    Args:
        service: name of the service called; the audience of the tokens.
        address: host:port.
        signer: signs this service's identity.
        idempotent: full method names (`/package.Service/Method`) that gRPC may try again while the connection is
            unavailable: at most three times, with backoff.
    """

    def __init__(self, service: str, address: str, signer: Signer, idempotent: Iterable[str] = ()) -> None:
        self.service = service
        self._signer = signer
        self._channel = aio.insecure_channel(address, options=_options(idempotent))

    def stub(self, kind: type[S]) -> S:
        """A stub of a generated class on this peer's channel."""
        return kind(self._channel)  # type: ignore[call-arg]

    async def unary(self, method: Any, request: Any, outbound: Outbound) -> Any:
        """Call a unary method of a stub.

        Raises:
            HeadraceError: whatever the peer answered, or `Upstream` when it cannot be reached.
        """
        call = method(request, metadata=self.metadata(outbound), timeout=_timeout(outbound))
        try:
            return await call
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def stream(self, method: Any, request: Any, outbound: Outbound) -> AsyncGenerator[Any, None]:
        """Call a method whose response is a stream. Closing the iterator early cancels the call at the peer.

        `request` is a message, or an async iterator of messages where the request is a stream too.
        """
        call = method(request, metadata=self.metadata(outbound), timeout=_timeout(outbound))
        try:
            async for item in call:
                yield item
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    def metadata(self, outbound: Outbound) -> tuple[tuple[str, str], ...]:
        """Metadata of a call."""
        token = self._signer.token(outbound.identity, self.service)
        sent = [(metadata.AUTHORIZATION, f"Bearer {token}"), (metadata.APPLICATION, self.service)]
        if outbound.request_id:
            sent.append((metadata.REQUEST_ID, outbound.request_id))
        if outbound.config_hash:
            sent.append((metadata.CONFIG_HASH, outbound.config_hash))
        if outbound.deadline is not None:
            sent.append((metadata.DEADLINE_MS, str(max(0, round((outbound.deadline - time.monotonic()) * 1000)))))
        if outbound.traceparent:
            sent.append((metadata.TRACEPARENT, outbound.traceparent))
        else:
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            sent += [(key, value) for key, value in carrier.items() if key == metadata.TRACEPARENT]
        return tuple(sent)

    async def close(self) -> None:
        """Close the channel; open calls are cancelled."""
        await self._channel.close()


def _timeout(outbound: Outbound) -> float | None:
    return None if outbound.deadline is None else max(0.0, outbound.deadline - time.monotonic())


def _options(idempotent: Iterable[str]) -> list[tuple[str, Any]]:
    names = [dict(zip(("service", "method"), name.strip("/").split("/"), strict=True)) for name in idempotent]
    # Over all addresses that the name has: a headless Service of Kubernetes has one a replica.
    balance: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    policy = {
        **balance,
        "methodConfig": [
            {
                "name": names,
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": [grpc.StatusCode.UNAVAILABLE.name],
                },
            }
        ],
    }
    return [
        ("grpc.service_config", json.dumps(policy if names else balance)),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A peer that was restarted is found again quickly, and where its name leads now is looked up anew for that.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # How long a connection may take to be made: on a busy machine far more than 100 ms.
        ("grpc.min_reconnect_backoff_ms", 2000),
        # Calls fail at once while the only peer is waited for: so it is tried often.
        ("grpc.max_reconnect_backoff_ms", 200),
    ]
