"""The stage between the checks of the input and the search for passages: an answer from the cache, or a fresh one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from headrace_gateway.cache.entry import Entry, decode, encode
from headrace_gateway.cache.flights import Flight, Flights
from headrace_gateway.cache.hits import free_event, hit_event, replay
from headrace_gateway.cache.key import Place, place_of
from headrace_gateway.cache.plan import CachePlan
from headrace_gateway.cache.ports import CacheStore, Epochs, Room
from headrace_gateway.cache.recording import Recording
from headrace_gateway.cache.semantic import Semantic, Vector
from headrace_gateway.cache.wishes import BYPASS, REFRESH, USE
from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import RequestContext
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.ports import Journal, envelope
from headrace_gateway.routing.plan import ModelPlan
from headrace_kit.config.caching import SemanticCache
from headrace_kit.ending import end
from headrace_kit.errors import DeadlineExceeded, HeadraceError, NotReady
from headrace_kit.telemetry.requests import Hop
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

_log = logging.getLogger(__name__)
Chunks = AsyncGenerator[GenerateChunk, None]
_MOST_WRITES = 1000
_LEFT_ALONE_S = 1.0


class AnswerCache:
    """Serves answers again, per tenant, rights, arm and policy.

    A store that is away makes every request a miss. What must be kept is written off the request's path.

    Args:
        store: where answers are.
        epochs: tells when what may be read of a collection has changed.
        semantic: finds questions that mean the same.
        journal: the event log; a hit is a row of its own.
        metrics: counts.
    """

    def __init__(
        self, store: CacheStore, epochs: Epochs, semantic: Semantic, journal: Journal, metrics: Metrics
    ) -> None:
        self._store, self._epochs, self._semantic = store, epochs, semantic
        self._journal, self._metrics = journal, metrics
        self._flights = Flights()
        self._writes: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def serve(
        self, ctx: RequestContext, plan: ModelPlan, call: GenerateCall, make: Callable[[], Awaitable[Chunks]]
    ) -> Chunks:
        """An answer from the cache, else that of `make`, which is kept.

        Raises:
            HeadraceError: what `make` raises; a collection that the caller may no longer read.
        """
        if plan.cache is None or not _wanted(plan.cache, call):
            self._note(ctx, plan, BYPASS)
            async with aclosing(await make()) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        place = place_of(ctx, plan, plan.cache, call)
        if call.options.cache != REFRESH:
            entry, vector = await self._find(ctx, plan.cache, place, (*plan.collections, *call.options.collections))
            if entry is not None:
                for chunk in self._hit(ctx, plan, entry):
                    yield chunk
                return
        else:
            vector = None
        self._note(ctx, plan, "miss")
        flight, entry = self._flights.begin(place.exact), None
        try:
            recording = Recording(plan.cache.settings.max_answer_bytes, ctx.cost_nano_usd)
            async with aclosing(await make()) as chunks:
                async for chunk in chunks:
                    recording.take(chunk)
                    yield chunk
            entry = recording.entry(ctx, place.question)
        finally:
            self._flights.land(place.exact, flight, entry)
        if entry is not None:
            self._keep(plan.cache, place, flight, entry, vector)

    async def unanswered(self, ctx: RequestContext, text: str) -> Chunks:
        """The words that a model gives in place of an answer when its documents hold none. No engine is asked."""
        chunk = GenerateChunk(text=text, finish_reason="stop")
        self._journal.closed(free_event(ctx, [chunk]))
        yield chunk

    async def stop(self) -> None:
        """Give up what is still to be written."""
        await end(*self._writes)

    async def _find(
        self, ctx: RequestContext, plan: CachePlan, place: Place, collections: tuple[str, ...]
    ) -> tuple[Entry | None, Vector | None]:
        """An answer that may be given now, and the question's vector where one was made."""
        vector: Vector | None = None
        waited = searched = False
        with ctx.stage("cache") as hop:
            while True:
                entry, found = await self._get(place.pool, place.exact), "exact"
                flight = self._flights.get(place.exact) if plan.settings.single_flight and not waited else None
                if entry is None and flight is not None:
                    # Once: when that answer does not become whole, those that waited for it go on on their own.
                    waited = True
                    await _wait(flight.landed, ctx.deadline)
                    entry, found = flight.entry, "flight"
                if entry is None and not searched and plan.settings.semantic is not None and place.scope is not None:
                    searched = True
                    entry, vector = await self._similar(ctx, plan.settings.semantic, place)
                    found = "semantic"
                    if entry is None and not waited and self._flights.get(place.exact) is not None:
                        continue  # meanwhile somebody has begun to answer the very same request
                if entry is not None and not await self._current(ctx, hop, entry, collections):
                    entry, found = None, "outdated"
                hop.attributes["headrace.cache.found"] = (
                    found if entry is not None or found == "outdated" else "nothing"
                )
                return entry, vector

    async def _similar(
        self, ctx: RequestContext, settings: SemanticCache, place: Place
    ) -> tuple[Entry | None, Vector | None]:
        if self._is_away:
            return None, None
        try:
            return await self._semantic.find(ctx, settings, place, lambda key: self._get(place.pool, key))
        except NotReady as error:
            self._failed(error)
            return None, None

    async def _get(self, pool: str, exact: str) -> Entry | None:
        if self._is_away:
            return None
        try:
            raw = await self._store.get(pool, exact)
        except NotReady as error:
            self._failed(error)
            return None
        return None if raw is None else decode(raw)

    async def _current(self, ctx: RequestContext, hop: Hop, entry: Entry, collections: tuple[str, ...]) -> bool:
        """Whether nothing that the answer was made of was deleted or closed to somebody since.

        Raises HeadraceError where that cannot be told, as a fresh answer would.
        """
        if not collections:
            return True
        now = await self._epochs.epochs(list(dict.fromkeys(collections)), envelope(ctx, hop))
        return now == entry.epochs

    def _hit(self, ctx: RequestContext, plan: ModelPlan, entry: Entry) -> list[GenerateChunk]:
        self._note(ctx, plan, "hit")
        self._metrics.saved(plan.name, entry.cost_nano_usd)
        chunks = replay(ctx, entry)
        self._journal.closed(hit_event(ctx, entry, chunks))
        return chunks

    def _keep(self, plan: CachePlan, place: Place, flight: Flight, entry: Entry, vector: Vector | None) -> None:
        if self._is_away or len(self._writes) >= _MOST_WRITES:
            self._flights.close(place.exact, flight)
            return
        settings = plan.settings
        room = Room(settings.ttl, settings.entries, settings.semantic.entries if settings.semantic else 0)
        scope = place.scope if vector is not None and place.scope else ""
        task = asyncio.create_task(self._write(place, encode(entry), room, scope, vector))
        self._writes.add(task)

        def written(done: asyncio.Task[None]) -> None:
            self._writes.discard(done)
            self._flights.close(place.exact, flight)

        task.add_done_callback(written)

    async def _write(self, place: Place, raw: bytes, room: Room, scope: str, vector: Vector | None) -> None:
        try:
            await self._store.put(
                place.pool, place.exact, raw, room, scope, vector.tobytes() if vector is not None else b""
            )
        except NotReady as error:
            self._failed(error)

    def _note(self, ctx: RequestContext, plan: ModelPlan, outcome: str) -> None:
        ctx.outcome.cache = outcome
        if plan.cache is not None:
            self._metrics.cache(plan.name, outcome)

    @property
    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _failed(self, error: HeadraceError) -> None:
        """Leave the store alone for a while, so that requests do not wait for one that hangs."""
        if not self._is_away:
            _log.warning("the cache is away, requests are misses meanwhile: %s", error.message)
        self._away_until = time.monotonic() + _LEFT_ALONE_S


def _wanted(plan: CachePlan, call: GenerateCall) -> bool:
    """Whether a request may be answered from the cache, and its answer kept."""
    wish = call.options.cache
    if wish == BYPASS or call.options.route:
        return False
    hot = call.sampling.HasField("temperature") and call.sampling.temperature > plan.settings.max_temperature
    return not hot or wish == USE


async def _wait(landed: asyncio.Event, deadline: float | None) -> None:
    try:
        async with asyncio.timeout_at(deadline):  # both on the clock of `time.monotonic`
            await landed.wait()
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the answer was there") from None
