"""`idempotency-key` over gRPC: one of the calls under a key is served, the others get the same messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from headrace_gateway.admission.door import Visit
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.idempotency.once import KEY, Ask, Once, rights, standing
from headrace_gateway.idempotency.recording import Head, Recording
from headrace_kit.errors import row
from headrace_kit.rpc import Call

Serve = Callable[[Visit, Any], AsyncGenerator[Any, None]]
"""Serves a request: a message, or several where the method streams."""


class GrpcOnce:
    """Serves calls that may have an idempotency key.

    Args:
        once: knows all answers.
        in_flight: ends what is at work when draining takes too long.
    """

    def __init__(self, once: Once, in_flight: InFlight) -> None:
        self._once, self._in_flight = once, in_flight

    async def answer(
        self, visit: Visit, call: Call, request: Any, serve: Serve, kind: type[Any]
    ) -> AsyncGenerator[Any, None]:
        """The messages, all of type `kind`, whose field `headrace` says how the answer came about.

        Raises:
            BadInput: the key is no key.
            Conflict: the key was used for another request.
            HeadraceError: what the request failed with.
        """
        key = call.metadata.get(KEY, "")
        if not key:
            async with aclosing(serve(visit, request)) as messages:
                async for message in messages:
                    yield message
            return
        head = f"grpc {call.method}\n{rights(visit.ctx.identity)}"
        asked = request.SerializeToString(deterministic=True)
        ask, served = Ask.of(visit.ctx.identity.tenant, key, (head.encode("utf-8", "surrogatepass"), asked)), visit

        async def make(recording: Recording) -> None:
            recording.begin(Head(200, [], stream=True))
            async with aclosing(serve(served, request)) as messages:
                async for message in messages:
                    recording.add(message.SerializeToString())
            recording.good = True

        def done(error: BaseException | None) -> None:
            if error is None:
                served.leave(200)
            else:
                served.leave(row(error).http if isinstance(error, Exception) else 499, error)

        recording, task = self._once.join(ask, make, done)
        if task is not None:
            served = visit.hand_on()
            self._in_flight.serves(task)
        await recording.begun()
        word = standing(recording, first=task is not None)
        async with aclosing(recording.follow()) as pieces:
            async for piece in pieces:
                message = kind.FromString(piece)
                if message.HasField("headrace"):
                    message.headrace.idempotency = word
                yield message
