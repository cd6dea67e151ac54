"""What goes to the same deployment, and to which one: rendezvous hashing with bounded loads.

Rendezvous hashing (Thaler and Ravishankar, 1998) gives each key an order of the deployments, of which the rest stays as
it is when one comes or goes. Bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018) pass a deployment over that has
more than a multiple of its share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b

from headrace_gateway.context import RequestContext
from headrace_gateway.routing.plan import Member
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_OPENING_CHARS = 1024
_SYSTEM = ("system", "developer")


def key_of(ctx: RequestContext, request: GenerateRequest, affinity: str) -> bytes:
    """What requests must share to be sent to the same deployment; empty where a request has nothing to share.

    Of `prefix` it is the system prompt, and where there is none the beginning of the first message; of `conversation`
    its id, and where there is none the system prompt with the user's first message, which all its turns begin with.
    The tenant is always part of it, as it is of engines' prefix caches.
    """
    digest = blake2b(ctx.identity.tenant.encode(), digest_size=16)
    if affinity == "conversation" and ctx.conversation:
        digest.update(b"\0c" + ctx.conversation.encode(errors="surrogatepass"))
        return digest.digest()
    opening = request.prompt[:_OPENING_CHARS]
    system = False
    for message in request.messages:
        text = "\0".join([part.text for part in message.parts if part.text])
        if message.role in _SYSTEM:
            system = True
            opening += f"\0s{text}"
            continue
        if affinity == "conversation" or not system:
            opening += f"\0u{text[:_OPENING_CHARS]}"
        break
    if not opening:
        return b""
    digest.update(opening.encode(errors="surrogatepass"))
    return digest.digest()


def ranked(key: bytes, members: Sequence[Member]) -> list[Member]:
    """The members in the order in which a key prefers them; each is first for its weight's share of the keys."""
    return sorted(members, key=lambda member: _score(key, member), reverse=True)


def bounded(
    order: Sequence[Member], spill: float, in_flight: Callable[[str], float], slots: Callable[[str], int]
) -> Member:
    """The first that has a free slot, or not more than `spill` times its share of what is at work; else the first."""
    there = [in_flight(member.target.name) for member in order]
    share = spill * (1 + sum(there)) / sum([member.weight for member in order])
    for member, now in zip(order, there, strict=True):
        if now + 1 <= max(slots(member.target.name), math.ceil(share * member.weight)):
            return member
    return order[0]


def _score(key: bytes, member: Member) -> float:
    name = f"{member.target.name}\0{member.target.adapter}".encode()
    point = (int.from_bytes(blake2b(key + name, digest_size=8).digest()) + 1) / (2**64 + 2)
    return -member.weight / math.log(point)
