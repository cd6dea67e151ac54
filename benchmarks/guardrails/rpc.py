"""Random splits of texts with planted secrets and personal data through the `CheckStream` call of the real service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc import aio

from benchmarks.guardrails.streams import ORDINARY, PLANTED
from headrace_guardrails.app import build
from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.config.ports import SERVICES
from headrace_kit.hosting import ServiceRuntime
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer, write_keys
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc as api

_CONFIG = """
guardrails:
  splits:
    output:
      - {check: unicode, action: mask}
      - {check: pii, kinds: [email, phone, iban, card], action: mask}
      - {check: secrets, action: mask}
telemetry: {sample: 0%}
"""
_AT_ONCE = 16


def leaks(splits: int) -> int:
    """How many of so many streams let a planted value out, or end with another text than the whole text's."""
    return asyncio.run(_leaks(splits))


async def _leaks(splits: int) -> int:
    async with _service() as peer:
        stub = peer.stub(api.GuardrailsServiceStub)
        numbers = iter(range(splits))

        async def some() -> int:
            return sum([await _leaks_one(peer, stub, random.Random(number)) for number in numbers])

        return sum(await asyncio.gather(*(some() for _ in range(_AT_ONCE))))


async def _leaks_one(peer: Peer, stub: api.GuardrailsServiceStub, chance: random.Random) -> bool:
    value = chance.choice(PLANTED)
    text = f"so {ORDINARY[: chance.randrange(60)]} {value} and then on"
    ask = Outbound(Identity(service="gateway", tenant="dev"))
    sizes = chance.choice(((1,), (1, 2, 3), (1, 2, 5, 13), (8, 40)))

    async def pieces() -> AsyncIterator[pb.CheckStreamRequest]:
        at = 0
        while at < len(text):
            size = chance.choice(sizes)
            piece = pb.CheckStreamRequest(delta=text[at : at + size])
            if at == 0:
                piece.policy, piece.direction = "splits", pb.DIRECTION_OUTPUT
            yield piece
            at += size

    out = "".join([answer.text async for answer in peer.stream(stub.CheckStream, pieces(), ask)])
    whole = pb.CheckRequest(policy="splits", direction=pb.DIRECTION_OUTPUT, text=text)
    return value in out or out != (await peer.unary(stub.Check, whole, ask)).text


@asynccontextmanager
async def _service() -> AsyncIterator[Peer]:
    """The service on a port of loopback, without stores, and a connection to it."""
    with TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        keys = folder / "secrets" / "signing"
        write_keys(keys, SERVICES)
        configs = ConfigStore(Snapshot(parse(_CONFIG), folder / "headrace.yaml"))
        runtime = ServiceRuntime("guardrails", Environment(data_dir=folder), configs)
        server = aio.server()
        for servicing in build(runtime).servicers:
            servicing.add(servicing.servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        peer = Peer("guardrails", f"127.0.0.1:{port}", Signer("gateway", keys))
        try:
            yield peer
        finally:
            await peer.close()
            await server.stop(0)
            await runtime.close()
