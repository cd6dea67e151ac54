"""What the console asks, over everything that is stored, through the service's gRPC."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sized
from typing import Any

from benchmarks.tracing.made import DAY_NS, MODELS, TENANT
from benchmarks.tracing.serving import Place
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.rpc.client import Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_protos.tracing.v1 import messages_pb2 as pb
from headrace_protos.tracing.v1 import service_pb2_grpc

LIST, PAGE = "list", "trace page"
_LISTS: dict[str, dict[str, Any]] = {
    "newest": {},
    "of a model": {"model": "coder"},
    "errors": {"status": "error"},
    "of an arm, escalated": {"arm": "candidate", "escalated": True},
    "longer than 7 ms": {"min_duration_ms": 7.0},
    "of a collection": {"collection": "handbook"},
    "with words in the text": {"text": "pump valve holiday"},
    "with a word that is nowhere": {"text": "zeppelin"},
}
_TARGET_MS = {LIST: 100.0, PAGE: 30.0}


async def queries(running: Platform, place: Place, each: int) -> list[dict[str, Any]]:
    """Ask every kind `each` times, one after the other."""
    peer = Peer(
        "tracing", f"127.0.0.1:{running.port('tracing-grpc')}", Signer("gateway", running.layout.secrets / "signing")
    )
    stub = peer.stub(service_pb2_grpc.TracingServiceStub)

    async def call(method: str, request: Any) -> Any:
        who = Outbound(Identity("gateway", TENANT, "bench")).within(60)
        return await peer.unary(getattr(stub, method), request, who)

    async def timed(kind: str, what: str, method: str, made: Callable[[int], Any]) -> dict[str, Any]:
        taken, rows = [], 0
        await call(method, made(0))
        service, database = place.service.cpu(), place.database.cpu()
        for number in range(each):
            request, began = made(number), time.perf_counter()
            answer = await call(method, request)
            taken.append((time.perf_counter() - began) * 1000)
            listed: Sized = next((of for name in ("traces", "spans", "rows") if (of := getattr(answer, name, ()))), ())
            rows = len(listed)
        taken.sort()
        return {
            "kind": kind,
            "what": what,
            "rows": rows,
            "cpu_ms": (place.service.cpu() - service).total_s / each * 1000,
            "database_cpu_ms": (place.database.cpu() - database).total_s / each * 1000,
            "p50_ms": statistics.median(taken),
            "p95_ms": taken[int(len(taken) * 0.95)],
            "target_ms": _TARGET_MS.get(kind),
        }

    try:
        found = []
        for what, fields in _LISTS.items():
            request = pb.ListTracesRequest(limit=50, filter=pb.TraceFilter(**fields))
            found.append(await timed(LIST, what, "ListTraces", _always(request)))
        # Of a model: the questions of this benchmark are traced too, a span each.
        page = await call("ListTraces", pb.ListTracesRequest(limit=200, filter=pb.TraceFilter(model=MODELS[0])))
        ids = [trace.trace_id for trace in page.traces]
        at = lambda number: pb.GetTraceRequest(trace_id=ids[number % len(ids)])  # noqa: E731
        found.append(await timed(PAGE, "8 spans with messages", "GetTrace", at))
        now = time.time_ns()
        for what, hours in (("an hour by model", 1), ("a day by model", 24)):
            sums = pb.AggregateRequest(group_by=["model"])
            sums.filter.to.FromNanoseconds(now)
            getattr(sums.filter, "from").FromNanoseconds(now - hours * DAY_NS // 24)
            found.append(await timed("sums", what, "Aggregate", _always(sums)))
        return found
    finally:
        await peer.close()


def _always(request: Any) -> Callable[[int], Any]:
    return lambda _: request
