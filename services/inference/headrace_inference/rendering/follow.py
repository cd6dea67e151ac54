"""`python -m headrace_inference.rendering.follow`: keep the model repository of a Triton beside this process.

It fetches the files that the config's deployments need and renders their models, at the start and whenever the config
changes; what changed, Triton is told to load, and what is gone to unload. With `--once` it ends after the first
rendering, before Triton starts. A config that cannot be rendered is told about, tried again, and leaves what serves as
it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace_inference.catalogue import pull
from headrace_inference.rendering import repository
from headrace_inference.rendering.places import Places
from headrace_inference.rendering.triton import render, render_deployment
from headrace_kit.config import ConfigStore, Environment, Snapshot
from headrace_kit.config.deployments import entries_of, on_triton
from headrace_kit.errors import BadInput, HeadraceError, Upstream
from headrace_kit.telemetry.logs import set_up_logs

_log = logging.getLogger(__name__)
_LOAD_S = 3600
FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 300.0

Tell = Callable[[str, str], None]
"""Has Triton `load` or `unload` a model by its name. Raises Upstream."""


class ModelRepository:
    """The folder that one Triton reads.

    Args:
        out: the folder.
        env: says where model files are kept and whether to stay offline.
        names: the deployments that this Triton runs; empty: all that run on Triton.
    """

    def __init__(self, out: Path, env: Environment, names: Iterable[str] = ()) -> None:
        self._out, self._env, self._names = out, env, frozenset(names)

    def write(self, snapshot: Snapshot) -> tuple[list[str], list[str]]:
        """Bring the folder to what a config says.

        Returns:
            Names of the models that changed, and of those that went.

        Raises:
            BadInput: a deployment cannot be rendered, or is not in the config.
            HeadraceError: a file cannot be had.
        """
        config = snapshot.config
        if unknown := sorted(self._names - config.deployments.keys()):
            raise BadInput(f"the config has no deployment {unknown[0]!r}, which this Triton is to run")
        mine = {
            name: one
            for name, one in config.deployments.items()
            if on_triton(one) and (not self._names or name in self._names)
        }
        entries = dict.fromkeys(entry for one in mine.values() for entry in entries_of(one))
        files = pull(snapshot, self._env, list(entries))
        places = Places(files, config.catalogue)
        before = {folder.name for folder in self._out.iterdir()} if self._out.is_dir() else set()
        changed = [
            model.name
            for name, one in mine.items()
            for model in render_deployment(name, one, places)
            if repository.differs(self._out, model)
        ]
        names = render(config.model_copy(update={"deployments": mine}), self._out, files)
        return changed, sorted(before - set(names))


class Follower:
    """Brings the repository and Triton to each new config, one after the other.

    Args:
        repository: the folder.
        tell: the Triton.
        pause_s: the first pause after a failure; pauses double.
    """

    def __init__(self, repository: ModelRepository, tell: Tell, pause_s: float = FIRST_PAUSE_S) -> None:
        self._repository, self._tell, self._pause_s = repository, tell, pause_s
        self._newest: Snapshot | None = None
        self._due: dict[str, str] = {}
        self._wake = asyncio.Event()

    def take(self, snapshot: Snapshot) -> None:
        """Have `run` bring it about."""
        self._newest = snapshot
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled."""
        pause = self._pause_s
        while True:
            if not self._due:
                await self._wake.wait()
            self._wake.clear()
            try:
                await self._bring_about()
                pause = self._pause_s
            except HeadraceError as error:
                _log.error("the models could not be brought up to date, trying again: %s", error.message)
                self._wake.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_S)

    async def _bring_about(self) -> None:
        assert self._newest is not None
        changed, gone = await asyncio.to_thread(self._repository.write, self._newest)
        self._due |= dict.fromkeys(changed, "load") | dict.fromkeys(gone, "unload")
        failed = None
        for name, what in list(self._due.items()):
            try:
                await asyncio.to_thread(self._tell, what, name)
            except HeadraceError as error:  # the others are not to wait for it
                failed = error
                continue
            self._due.pop(name)
            _log.info("%s: %s", name, what)
        if failed is not None:
            raise failed


def triton(address: str) -> Tell:
    """The Triton that serves HTTP at `address`, host:port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def tell(what: str, name: str) -> None:
        request = urllib.request.Request(f"http://{address}/v2/repository/models/{name}/{what}", b"{}", method="POST")
        try:
            opener.open(request, timeout=_LOAD_S).close()
        except urllib.error.HTTPError as error:
            raise Upstream(f"Triton cannot {what} {name}: {_told(error)}") from error
        except OSError as error:
            raise Upstream(f"Triton cannot be reached at {address}: {error}") from error

    return tell


def _told(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return str(error)


async def _follow(configs: ConfigStore, follower: Follower) -> None:
    configs.on_change(follower.take)
    follower.take(configs.current)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(configs.follow())
        tasks.create_task(follower.run())


def main() -> None:
    """Parse the arguments and follow; exits with 1 and one line when the first rendering fails."""
    parser = argparse.ArgumentParser(prog="python -m headrace_inference.rendering.follow")
    parser.add_argument("--out", type=Path, required=True, help="Triton's model repository")
    parser.add_argument("--triton", default="127.0.0.1:7870", help="host:port of its HTTP")
    parser.add_argument("--once", action="store_true", help="render and end")
    parser.add_argument("deployments", nargs="*", help="those that this Triton runs; default: all on Triton")
    given = parser.parse_args()
    # The first process of a container is not ended by a signal that it does not handle. Nothing has to be put in order:
    # downloads are gone on with, and a rendering is begun anew.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    env = Environment()
    set_up_logs("models", env.log_level)
    kept = ModelRepository(given.out, env, given.deployments)
    try:
        configs = ConfigStore.from_file(env.config)
        if given.once:
            kept.write(configs.current)
            return
    except HeadraceError as error:
        sys.exit(f"headrace: {error}")
    asyncio.run(_follow(configs, Follower(kept, triton(given.triton))))


if __name__ == "__main__":
    main()
