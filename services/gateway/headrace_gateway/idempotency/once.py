"""Requests with an idempotency key: one of them is served, the others get its answer.

The one that is served runs in a task of its own: it goes on when its caller leaves, so that the repeat of a caller
whose connection broke finds the answer, and the ledger holds the work once. What all replicas know stands in a shared
store: while the answer is made, a mark with a short lease that its maker renews; then the answer itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from headrace_gateway.admission.limits import shut_down
from headrace_gateway.idempotency.ports import Claims
from headrace_gateway.idempotency.recording import Kept, Recording, decode
from headrace_kit.config.services import Idempotency
from headrace_kit.ending import end
from headrace_kit.errors import BadInput, Conflict, HeadraceError, NotReady
from headrace_kit.rpc.call import Identity

KEY = "idempotency-key"
"""The header, and the key of gRPC metadata, that names a request."""

NEW, UNSHARED, REPLAYED = "new", "unshared", "replayed"

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_LEASE_S = 15.0
_LONGEST_LOOK_S = 0.5
_PRINT = 32
_WORKING, _DONE, _LARGE = b"W", b"D", b"L"

Make = Callable[[Recording], Awaitable[None]]
"""Serves the request and writes the answer down. Raises what the request fails with."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request under a key. Two with the same `fingerprint` ask for the same."""

    tenant: str
    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, tenant: str, key: str, parts: Iterable[bytes]) -> Ask:
        """From what the request consists of: what is asked, and the rights with which.

        Raises:
            BadInput: the key is not one.
        """
        if not _KEY.fullmatch(key):
            raise BadInput("an idempotency key has 1 to 255 visible ASCII characters", param=KEY)
        digest = hashlib.blake2b(digest_size=_PRINT)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return cls(tenant, key, digest.digest())

    @property
    def name(self) -> str:
        """The name in the shared store: keys may be long, and may say something that is not for it."""
        return hashlib.blake2b(f"{self.tenant}\0{self.key}".encode(), digest_size=_PRINT).hexdigest()


class Once:
    """All answers under a key that this replica makes or has.

    Args:
        claims: what all replicas know.
        settings: those at this moment.
        clock: seconds, never running backwards.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        claims: Claims,
        settings: Callable[[], Idempotency],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._claims, self._settings, self._clock, self._sleep = claims, settings, clock, sleep
        self._making: dict[str, Recording] = {}
        self._made: OrderedDict[str, tuple[float, Recording]] = OrderedDict()
        self._made_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def join(
        self, ask: Ask, make: Make, done: Callable[[BaseException | None], None], audience: object = None
    ) -> tuple[Recording, asyncio.Task[None] | None]:
        """The answer to `ask`, and the task that makes it if nobody else here has it or is at it.

        That task ends by itself, whoever listens; `done` hears of its end, in whatever case.

        Raises:
            Conflict: the key was used for another request.
        """
        self._forget()
        name = ask.name
        recording = self._making.get(name)
        if recording is None and name in self._made:
            recording = self._made[name][1]
        if recording is not None:
            _compare(ask, recording.fingerprint)
            return recording, None
        recording = self._making[name] = Recording(ask.fingerprint, audience)
        task = asyncio.create_task(self._run(ask, recording, make, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return recording, task

    async def stop(self) -> None:
        """Stop what is still at work."""
        await end(*self._tasks)

    async def _run(
        self, ask: Ask, recording: Recording, make: Make, done: Callable[[BaseException | None], None]
    ) -> None:
        mark = _WORKING + ask.fingerprint + os.urandom(16)
        error: BaseException | None = None
        try:
            kept = await self._find(ask, recording, mark)
            if kept is not None:
                recording.replay(kept)
                return
            renewing = asyncio.create_task(self._renew(ask.name, mark)) if recording.shared else None
            try:
                await make(recording)
            finally:
                if renewing is not None:
                    renewing.cancel()
        except BaseException as raised:
            error, recording.good = shut_down(raised), False
            if not isinstance(raised, Exception):
                raise
        finally:
            del self._making[ask.name]
            if recording.good:
                self._remember(ask.name, recording)
            recording.end(error)
            done(error)
            if recording.shared:
                await self._settle(ask, recording, mark)

    async def _find(self, ask: Ask, recording: Recording, mark: bytes) -> Kept | None:
        """Another replica's answer, waiting for it where one is at work; None when it is ours to make."""
        look_s, seen = 0.02, False
        while True:
            try:
                value = await self._claims.claim(ask.name, mark, _LEASE_S)
            except NotReady as away:
                if not seen:
                    return None
                raise NotReady(
                    "another replica serves this idempotency key, and its answer cannot be looked up now; try again",
                    code="idempotency_unknown",
                    retry_after_s=1,
                ) from away
            if value is None:
                recording.shared = True
                return None
            seen, kind, rest = True, value[:1], value[1 + _PRINT :]
            _compare(ask, value[1 : 1 + _PRINT])
            if kind == _DONE and (kept := decode(rest)) is not None:
                return kept
            if kind != _WORKING:
                raise Conflict(
                    "this request was served, but its answer was too large to be kept, and cannot be given again",
                    code="idempotency_answer_too_large",
                    param=KEY,
                )
            await self._sleep(look_s)
            look_s = min(look_s * 1.5, _LONGEST_LOOK_S)

    async def _renew(self, name: str, mark: bytes) -> None:
        while True:
            await self._sleep(_LEASE_S / 3)
            with contextlib.suppress(NotReady):
                await self._claims.renew(name, mark, _LEASE_S)

    async def _settle(self, ask: Ask, recording: Recording, mark: bytes) -> None:
        settings = self._settings()
        try:
            if not recording.good:
                await self._claims.release(ask.name, mark)
                return
            fits = recording.size <= settings.max_answer_bytes
            value = (_DONE if fits else _LARGE) + ask.fingerprint + (recording.encoded() if fits else b"")
            await self._claims.keep(ask.name, mark, value, settings.ttl)
        except HeadraceError:
            _log.warning("an answer under an idempotency key is known to this replica only")

    def _remember(self, name: str, recording: Recording) -> None:
        self._made[name] = self._clock() + self._settings().ttl, recording
        self._made_bytes += recording.size
        self._forget()

    def _forget(self) -> None:
        """Drop what is too old, and the oldest where there is no room."""
        room, now = self._settings().memory_bytes, self._clock()
        while self._made:
            name, (until, recording) = next(iter(self._made.items()))
            if until > now and self._made_bytes <= room:
                return
            del self._made[name]
            self._made_bytes -= recording.size


def _compare(ask: Ask, fingerprint: bytes) -> None:
    if ask.fingerprint != fingerprint:
        raise Conflict(
            "this idempotency key was used for another request; use a new key for each request",
            code="idempotency_key_reused",
            param=KEY,
        )


def rights(who: Identity) -> str:
    """Who may see what, as a part of the question: another key of the tenant may have other rights."""
    return "\n".join(("", who.user, "", *sorted(who.groups), "", *sorted(who.scopes)))


def standing(recording: Recording, *, first: bool) -> str:
    """In a word how an answer that has begun came about: `new`, `unshared` (new, and only this replica can give it
    again) or `replayed`."""
    if recording.replayed or not first:
        return REPLAYED
    return NEW if recording.shared else UNSHARED
