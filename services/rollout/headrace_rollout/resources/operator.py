"""The loop that follows `ModelRollout` resources, on one replica at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from headrace_kit.ending import end
from headrace_kit.errors import NotReady
from headrace_rollout.ports import ModelRollouts
from headrace_rollout.resources.reconciler import Reconciler
from headrace_rollout.resources.resource import Resource

_log = logging.getLogger(__name__)
LOOK_S = 1.0
"""Rollouts move without a change of their resource: looks are this far apart, in seconds."""
AGAIN_S = 5.0


class Operator:
    """Leads where nobody else does, watches resources, and has them reconciled at each change and each second."""

    def __init__(self, api: ModelRollouts, reconciler: Reconciler) -> None:
        self._api = api
        self._reconciler = reconciler
        self._task: asyncio.Task[None] | None = None
        self._seen: Sequence[Resource] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop; the lease runs out by itself."""
        await end(self._task)
        await self._api.close()

    async def _forever(self) -> None:
        away = ""
        while True:
            try:
                await self._api.lead(self._work)
                away = ""
            except NotReady as error:
                if error.message != away:
                    _log.warning("ModelRollouts are not followed now: %s", error.message)
                away = error.message
            except Exception:
                _log.exception("the operator of ModelRollouts failed; it begins again")
            await asyncio.sleep(AGAIN_S)

    async def _work(self) -> None:
        _log.info("leads: ModelRollouts are followed from here")
        self._seen = None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._look())

    async def _watch(self) -> None:
        away = ""
        while True:
            try:
                async for resources in self._api.watch():
                    self._seen, away = resources, ""
                    self._changed.set()
            except NotReady as error:
                # Without knowing what there is, nothing is held against the rollouts that run.
                self._seen = None
                if error.message != away:
                    _log.warning("ModelRollouts cannot be watched: %s", error.message)
                away = error.message
                await asyncio.sleep(AGAIN_S)

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            self._changed.clear()
            if self._seen is None:
                continue
            try:
                await self._reconciler.look(self._seen)
            except NotReady as error:
                _log.warning("ModelRollouts wait: %s", error.message)
                await asyncio.sleep(AGAIN_S)
