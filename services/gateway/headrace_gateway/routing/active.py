"""The snapshot that new requests are served under, and the change to the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headrace_gateway.routing.table import Table, compile_table
from headrace_kit.config import ConfigStore, Snapshot
from headrace_kit.ending import end

_log = logging.getLogger(__name__)
_FIRST_S, _MOST_S, _SAY_S = 0.1, 1.0, 10.0

Missing = Callable[[str], Awaitable[list[str]]]
"""Names the services that are needed and do not have the snapshot with this hash yet."""


class ActiveTable:
    """Switches to a new snapshot when every service that is needed has it.

    Args:
        configs: follows the file.
        missing: asks the services.

    Raises:
        ValueError: the first snapshot cannot be compiled.
    """

    def __init__(self, configs: ConfigStore, missing: Missing) -> None:
        self._configs = configs
        self._missing = missing
        self._table = compile_table(configs.current)
        self._newest = configs.current
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.refused = ""
        self.switched: Callable[[Table | None, Table], None] = lambda _old, _new: None
        """Hears of each table that requests are served under; of the first one with None before it."""
        configs.on_change(self._take)

    @property
    def current(self) -> Table:
        """What new requests are served under."""
        return self._table

    @property
    def pending(self) -> str:
        """Hash of a newer snapshot that is not active yet; empty when there is none."""
        return "" if self._newest.hash == self._table.hash else self._newest.hash

    @property
    def error(self) -> str:
        """Why the newest file was refused; empty when it was not."""
        return self.refused or self._configs.error or ""

    def start(self) -> None:
        """Begin to follow."""
        self.switched(None, self._table)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no longer."""
        await end(self._task)

    def _take(self, snapshot: Snapshot) -> None:
        self._newest = snapshot
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._switch(self._newest)

    async def _switch(self, snapshot: Snapshot) -> None:
        try:
            table = compile_table(snapshot)
        except ValueError as error:
            self.refused = str(error)
            self._newest = self._configs.get(self._table.hash) or snapshot
            _log.error("config refused, the last good one goes on: %s", error)
            return
        self.refused = ""
        loop = asyncio.get_running_loop()
        wait_s, said = _FIRST_S, loop.time()
        while not self._changed.is_set():
            missing = await self._missing(snapshot.hash)
            if not missing:
                old, self._table = self._table, table
                self.switched(old, table)
                _log.info("serving under the new config", extra={"config_hash": snapshot.hash})
                return
            if loop.time() - said >= _SAY_S:
                said = loop.time()
                _log.warning("new config waits for %s", ", ".join(missing), extra={"config_hash": snapshot.hash})
            await asyncio.sleep(wait_s)
            wait_s = min(_MOST_S, wait_s * 2)
