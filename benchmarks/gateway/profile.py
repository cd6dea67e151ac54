"""Where a request's CPU time goes: `python -m benchmarks.gateway.profile [core|full|stream] [--calls N]`.

One process and no network: the gateway's own code, from the RSGI face to an endpoint's bytes and back, with keys,
limits, a budget, metrics, and events that are encoded and thrown away. Neither the kernel, granian, the log's thread
nor the stores are in the figures. The least of many short runs is printed, which other work on the machine moves least,
without a trace and with one, whose record is made, packed and encoded for tracing.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.gateway import gateways, upstream
from headrace_gateway.adapters.engines import Engines
from headrace_gateway.adapters.openai_http.connection import Connection
from headrace_gateway.admission.door import Door
from headrace_gateway.admission.keys import ApiKey, KeyRing, digest_of
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.admission.overload import LoopLag
from headrace_gateway.admission.rates import RateBook
from headrace_gateway.admission.sessions import AUDIENCE, Sessions
from headrace_gateway.arms.leases import Leases
from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.period import DAY_NS
from headrace_gateway.cache.semantic import Semantic
from headrace_gateway.cache.stage import AnswerCache
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.webhook import Webhooks
from headrace_gateway.conversations import Conversations
from headrace_gateway.fakes import (
    FakeCacheStore,
    FakeClaims,
    FakeEngine,
    FakeGuardrails,
    FakeMemory,
    FakePost,
    FakeReceiver,
    FakeRetriever,
)
from headrace_gateway.grounding.rewriting import Rewriting
from headrace_gateway.guarding.decisions import Decisions
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.http_api.application import HttpApplication
from headrace_gateway.http_api.chat import ChatApi
from headrace_gateway.http_api.once import HttpOnce
from headrace_gateway.http_api.router import Router
from headrace_gateway.http_api.rsgi import RsgiFace
from headrace_gateway.idempotency.once import Once
from headrace_gateway.observing.export import Exporter
from headrace_gateway.observing.failures import FailureMetrics
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.pipeline import Pipeline
from headrace_gateway.resilience.attempts import Attempts
from headrace_gateway.resilience.health import Health
from headrace_gateway.routing.choose import PoolChooser
from headrace_gateway.routing.load import LoadBook
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import ConfigStore, Secrets, Snapshot, parse
from headrace_kit.config.services import Idempotency
from headrace_kit.rpc.identity import Signer, Verifier
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest

AT_ONCE, TURNS = 8, 8
SECRETS = Path("secrets")
"""Not there, and not read: callers have keys, and no session."""


class EncodingJournal:
    """Events are encoded, which is what the log does with them on the event loop."""

    async def opened(self, event: RequestEvent) -> None:
        """See `Journal`."""
        event.SerializeToString()

    def closed(self, event: RequestEvent) -> None:
        """See `Journal`."""
        event.SerializeToString()


class Wire:
    """The transport of a connection whose other end is the upstream's bytes."""

    def __init__(self, connection: Connection, answer: list[bytes]) -> None:
        self._connection, self._answer = connection, answer
        self._loop = asyncio.get_running_loop()

    def write(self, _: bytes) -> None:
        """A request; its answer comes piece by piece."""
        self._loop.call_soon(self._piece, 0)

    def _piece(self, number: int) -> None:
        self._connection.data_received(self._answer[number])
        if number + 1 < len(self._answer):
            self._loop.call_soon(self._piece, number + 1)

    def is_closing(self) -> bool:
        """See asyncio."""
        return False

    def abort(self) -> None:
        """See asyncio."""


class Protocol:
    """granian's side of one request."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.status = 0

    async def __call__(self) -> bytes:
        """The body."""
        return self._body

    def client_disconnect(self) -> asyncio.Future[None]:
        """Nobody leaves."""
        return asyncio.get_running_loop().create_future()

    def response_bytes(self, status: int, _headers: Any, _body: bytes) -> None:
        """A whole response."""
        self.status = status

    def response_stream(self, status: int, _headers: Any) -> Protocol:
        """One in pieces."""
        self.status = status
        return self

    async def send_bytes(self, _: bytes) -> None:
        """A piece of it."""


class Gateway:
    """The parts of a request's path, wired as `app.build` does, with stores that are not there."""

    def __init__(self, profile: str, *, traced: bool) -> None:
        config = parse(msgspec.json.encode(gateways.config(1)).decode())
        snapshot = Snapshot(config, Path("headrace.yaml"))
        table, self._hash = compile_table(snapshot), snapshot.hash
        registry = CollectorRegistry()
        metrics, loads, in_flight, leases = Metrics(registry), LoadBook(), InFlight(), Leases()
        health = Health(FailureMetrics(registry))
        chooser = PoolChooser(health.healthy, loads)
        configs = ConfigStore(snapshot)
        self._engines = Engines(FakeEngine(), configs, Secrets(SECRETS, {}))
        journal = EncodingJournal()
        attempts = Attempts(self._engines, journal, metrics, chooser, health, [loads])
        store, retriever = FakeCacheStore(), FakeRetriever()
        webhooks = Webhooks(FakePost(), lambda _: None, metrics.webhook)
        cache = AnswerCache(store, retriever, Semantic(store, attempts), journal, metrics)
        guardrails = FakeGuardrails()
        guards = Guards(guardrails, Decisions(guardrails, metrics.decisions_lost.inc))
        judges = Judges(attempts, FakeEngine(), webhooks)
        rewriting = Rewriting(journal, metrics)
        conversations = Conversations(FakeMemory(), rewriting, metrics)
        pipeline = Pipeline(attempts, retriever, leases, metrics, cache, judges, guards, rewriting, conversations)
        ring = KeyRing(None)
        ring.update([ApiKey("k", "bench", "bench", frozenset(), digest_of("hr_bench"))])
        signing = SECRETS / "signing"
        services = Verifier("gateway", signing)
        callers = Sessions(ring, Signer("gateway", signing), Verifier(AUDIENCE, signing), lambda: 3600.0, services)
        self._book = Book(lambda tenant: table.tenant(tenant).budget)
        self._receiver = FakeReceiver()
        self._exporter = Exporter(self._receiver, metrics)
        door = Door(
            callers, in_flight, LoopLag(lambda: 0.2), lambda: table, lambda: 10_000, metrics, self._book, RateBook(),
            self._exporter.record,
        )  # fmt: skip
        once = HttpOnce(Once(FakeClaims(), Idempotency), in_flight, lambda: 1 << 20)
        chat = ChatApi(pipeline, door, lambda: 1 << 20, lambda: 15.0)
        self._face = RsgiFace(HttpApplication(Router(chat.routes()), door, once))
        self._headers = {"authorization": "Bearer hr_bench", "content-type": "application/json"}
        streams = profile == "stream"
        said = {"role": "user", "content": "hello, this is a question of about twenty tokens, as short as most are."}
        body = {"model": "full" if profile == "full" else "core", "messages": [said], "max_tokens": 64}
        self._body = msgspec.json.encode({**body, "stream": True} if streams else body)
        self._headers["content-length"] = str(len(self._body))
        self._headers["traceparent"] = gateways.SAMPLED if traced else gateways.SAMPLED[:-2] + "00"
        self._answer = upstream.pieces() if streams else [upstream.WHOLE]
        self.streams = streams

    def start(self) -> None:
        """Give the tenant money and its endpoint connections."""
        for slice_ in self._book.slices("bench", time.time_ns() // DAY_NS):
            slice_.granted, slice_.lapses = slice_.limit, float("inf")
        pool = self._engines._learn(self._hash)["out"]._pool
        for _ in range(AT_ONCE):
            connection = Connection(30, pool._freed, lambda _: None)
            connection.connection_made(Wire(connection, self._answer))  # type: ignore[arg-type]
            pool._freed(connection)

    async def serve(self) -> None:
        """Serve some requests at one time."""
        scope = SimpleNamespace(method="POST", path="/v1/chat/completions", query_string="", headers=self._headers)
        protocols = [Protocol(self._body) for _ in range(AT_ONCE)]
        await asyncio.gather(*(self._face.__rsgi__(scope, protocol) for protocol in protocols))
        assert all(protocol.status == 200 for protocol in protocols), [protocol.status for protocol in protocols]

    async def hand_over(self) -> None:
        """Send the records that wait."""
        await self._exporter.flush()
        for records in self._receiver.batches:
            TakeRecordsRequest(records=records).SerializeToString()  # what the receiver and its channel do with it
        self._receiver.batches.clear()


async def least(made: Sequence[Gateway], rounds: int) -> list[float]:
    """CPU microseconds of a request of each gateway: the best turn, and its share of handing over the best batch.

    They take turns, because machines change their pace.
    """
    turns, batches = [float("inf")] * len(made), [float("inf")] * len(made)
    for _ in range(rounds):
        for at, gateway in enumerate(made):
            for _ in range(TURNS):
                before = time.thread_time()
                await gateway.serve()
                turns[at] = min(turns[at], time.thread_time() - before)
            before = time.thread_time()
            await gateway.hand_over()
            batches[at] = min(batches[at], time.thread_time() - before)
    return [(turn + batch / TURNS) / AT_ONCE * 1e6 for turn, batch in zip(turns, batches, strict=True)]


async def calls(gateway: Gateway, top: int) -> None:
    """Print what is called how often, and what takes longest."""
    rounds, profiler = 5, cProfile.Profile(time.thread_time)
    count = rounds * AT_ONCE * TURNS
    profiler.enable()
    for _ in range(rounds):
        for _ in range(TURNS):
            await gateway.serve()
        await gateway.hand_over()
    profiler.disable()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    modules: Counter[str] = Counter()
    for (file, _, _), (_, number, _, _, callers) in stats.items():
        if file == "~":
            for (caller, _, _), told in callers.items():
                modules[_short(caller)] += told[0]
        else:
            modules[_short(file)] += number
    print(f"\n{sum(modules.values()) / count:.0f} calls a request, by module:")
    for name, number in modules.most_common(top):
        print(f"{number / count:8.1f}  {name}")
    _table("\nus itself, calls, function", stats, count, top, lambda entry: entry[2])
    _table("\nus with what it calls, calls, function", stats, count, top, lambda entry: entry[3])


def freeze() -> None:
    """What a process does once it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _table(title: str, stats: dict[Any, Any], count: int, top: int, worth: Callable[[Any], float]) -> None:
    print(title)
    for (file, line, name), entry in sorted(stats.items(), key=lambda item: -worth(item[1]))[:top]:
        print(f"{worth(entry) / count * 1e6:8.1f} {entry[1] / count:8.1f}  {_short(file)}:{line} {name}")


def _short(file: str) -> str:
    for mark in ("site-packages/", "services/gateway/", "libs/", "python3.11/"):
        if mark in file:
            return file.split(mark, 1)[1]
    return file


async def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    for profile in given.profiles or ["core", "full", "stream"]:
        made = [Gateway(profile, traced=traced) for traced in (False, True)]
        for gateway in made:
            gateway.start()
        await least(made, 3)
        freeze()
        plain, traced = await least(made, given.rounds)
        print(f"{profile}: {plain:.0f} us a request, {traced:.0f} us traced (+{traced / plain - 1:.0%})")
        if given.calls:
            await calls(made[1], given.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.gateway.profile", description=__doc__)
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="core, full (guardrails both ways), stream")
    parser.add_argument("--rounds", type=int, default=100, help="of 64 requests")
    parser.add_argument("--calls", type=int, default=0, metavar="N", help="print the N longest and most called too")
    uvloop.run(main(parser.parse_args()))
