"""Sends exports as fast as they are taken: `python -m benchmarks.tracing.load OPTIONS_AS_JSON` prints what it saw.

Options: `address` (OTLP over gRPC), `records` (the gateway's in the place of OTLP), `exports`, `senders` (exports at
one time), `start_ns`, `over_ns`, `seed`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import uvloop
from grpc import aio

from benchmarks.tracing.made import exports
from benchmarks.tracing.records import records

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RECORDS = "/headrace.tracing.v1.RecordService/TakeRecords"
_LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_PAUSE_S = 0.1


async def main(options: dict[str, Any]) -> None:
    """Run and print."""
    make = records if options["records"] else exports
    messages = make(options["start_ns"], options["over_ns"], options["exports"], options["seed"])
    waits: list[float] = []
    refused = sent_bytes = 0
    async with aio.insecure_channel(options["address"]) as channel:
        export = channel.unary_unary(_RECORDS if options["records"] else _METHOD)

        async def send() -> None:
            nonlocal refused, sent_bytes
            for raw in messages:
                began = time.perf_counter()
                while True:
                    try:
                        await export(raw, timeout=60)
                        break
                    except aio.AioRpcError as error:
                        if error.code() not in _LATER:
                            raise
                        refused += 1
                        await asyncio.sleep(_PAUSE_S)
                sent_bytes += len(raw)
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(options["senders"])))
        took_s = time.perf_counter() - began
    waits.sort()
    print(
        json.dumps(
            {
                "took_s": took_s,
                "refused": refused,
                "sent_bytes": sent_bytes,
                "p50_ms": waits[len(waits) // 2] * 1000,
                "p99_ms": waits[int(len(waits) * 0.99)] * 1000,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
