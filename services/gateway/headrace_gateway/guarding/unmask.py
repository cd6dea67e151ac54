"""The caller's own values, back in the answer that the caller gets.

What a policy masked in a caller's messages never reached the model, nor a cache; the answer names placeholders. They
are put back last of all, for this request alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

from headrace_detectors import Session, Unmasker
from headrace_gateway.guarding.input import Guard
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

Chunks = AsyncGenerator[GenerateChunk, None]


async def unmasked(guard: Guard, coming: Awaitable[Chunks]) -> Chunks:
    """The answer, with values where a policy of the request says so."""
    chunks = await coming
    if not any(policy.unmask and not policy.shadow for policy in guard.policies):
        return chunks
    return _unmasked(guard.own, chunks)


async def _unmasked(session: Session, chunks: Chunks) -> Chunks:
    plain: dict[tuple[int, str], Unmasker] = {}
    quoted = _quoted(session)
    async with aclosing(chunks):
        async for chunk in chunks:
            final = bool(chunk.finish_reason)
            for field in ("text", "reasoning"):
                lane = plain.setdefault((chunk.index, field), Unmasker(session))
                setattr(chunk, field, (lane.finish if final else lane.feed)(getattr(chunk, field)))
            for call in chunk.tool_calls:
                lane = plain.setdefault((chunk.index, f"call {call.index}"), Unmasker(quoted))
                call.arguments = lane.feed(call.arguments)
            if final:
                for (index, name), lane in plain.items():
                    if index == chunk.index and name.startswith("call ") and (rest := lane.finish()):
                        chunk.tool_calls.add(index=int(name[5:]), arguments=rest)
            yield chunk


def _quoted(session: Session) -> Session:
    """The same values as they stand in JSON: a tool's arguments stay what they were, an object."""
    inside = Session(keep=True)
    inside.values = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in session.values.items()}
    return inside
