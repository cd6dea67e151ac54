"""What engines load: model files in this machine's cache, and models in a Triton repository that we may write."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace_inference.catalogue import InUse, Report, pull
from headrace_inference.rendering import repository
from headrace_inference.rendering.machine import GIB, here
from headrace_inference.rendering.memory import estimate, require_fit
from headrace_inference.rendering.model import Rendered
from headrace_inference.rendering.places import Places
from headrace_inference.rendering.triton import render_deployment
from headrace_kit.config import Environment
from headrace_kit.config.deployments import BaseDeployment, LlamaCppDeployment, entries_of, on_triton
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import BadInput, NotReady

_log = logging.getLogger(__name__)
_MEMINFO = Path("/proc/meminfo")


class LocalArtefacts:
    """The port `Artefacts` on this machine.

    Deployments whose weights are elsewhere, and models of a Triton repository that somebody else fills, need nothing.

    Args:
        env: says where files are kept and whether to stay offline.
        models: Triton's model repository; None, or a folder that does not exist: somebody else fills it.
    """

    def __init__(self, env: Environment, models: Path | None) -> None:
        self._env = env
        self._models = models
        self._in_use = InUse(env)
        self._stopping = False

    async def prepare(self, snapshot: Snapshot, name: str, *, anew: bool) -> Prepared:
        """See `Artefacts`."""
        return await asyncio.to_thread(self._prepare, snapshot, name, anew)

    async def remove(self, name: str) -> None:
        """See `Artefacts`."""
        models = self._repository()
        if models is not None:
            for model in (name, f"{name}-plain"):
                await asyncio.to_thread(repository.remove, models, model)

    def close(self) -> None:
        """Let downloads stop where they are, and let go of the files."""
        self._stopping = True
        self._in_use.close()

    def _repository(self) -> Path | None:
        return self._models if self._models is not None and self._models.is_dir() else None

    def _prepare(self, snapshot: Snapshot, name: str, anew: bool) -> Prepared:
        config = snapshot.config
        deployment = config.deployments[name]
        models = self._repository()
        rendered_here = on_triton(deployment) and models is not None
        if not rendered_here and getattr(deployment, "engine", "") != "llamacpp":
            return Prepared(None, ())
        files = pull(snapshot, self._env, entries_of(deployment), self._progress)
        self._in_use.keep(config)
        places = Places(files, config.catalogue)
        require_fit(config, Places({}, config.catalogue), here())
        _require_free(name, deployment, places)
        if models is None or not rendered_here:
            return Prepared(None, ())
        wanted = render_deployment(name, deployment, places)
        changed = [model for model in wanted if anew or repository.differs(models, model)]
        return Prepared(models, tuple(_write(models, model) for model in changed))

    def _progress(self, report: Report) -> None:
        if self._stopping:
            raise NotReady("inference is stopping; the download goes on another time")
        if report.state in ("waiting", "ready"):
            _log.info("%s/%s: %s", report.entry, report.file, report.state)


@dataclass(frozen=True, slots=True)
class _Written:
    """A version of a model that was just written, and the config that it replaced."""

    name: str
    version: int
    config_before: bytes | None


class Prepared:
    """The port `Preparation`: versions of one deployment's models in Triton's repository."""

    def __init__(self, models: Path | None, written: Sequence[_Written]) -> None:
        self._models = models
        self._written = written

    @property
    def changed(self) -> bool:
        """See `Preparation`."""
        return bool(self._written)

    async def keep(self) -> None:
        """See `Preparation`."""
        await asyncio.to_thread(self._prune)

    async def undo(self) -> None:
        """See `Preparation`."""
        await asyncio.to_thread(self._remove)

    def _prune(self) -> None:
        for written in self._written:
            assert self._models is not None
            repository.prune(self._models, written.name)

    def _remove(self) -> None:
        for written in self._written:
            assert self._models is not None
            folder = self._models / written.name
            if written.config_before is None:
                shutil.rmtree(folder)
                continue
            shutil.rmtree(folder / str(written.version))
            fresh = folder / "config.pbtxt.before"
            fresh.write_bytes(written.config_before)
            fresh.replace(folder / "config.pbtxt")


def _write(models: Path, model: Rendered) -> _Written:
    config = models / model.name / "config.pbtxt"
    before = config.read_bytes() if config.is_file() else None
    return _Written(model.name, repository.write_next(models, model), before)


def _require_free(name: str, deployment: BaseDeployment, places: Places) -> None:
    """Refuse a load whose caches the machine's free memory cannot hold; of weights the system keeps what it can.

    Raises:
        BadInput: it does not fit, with both figures.
    """
    needed = estimate(name, deployment, places)
    free = _free_bytes()
    if needed is None or free is None or not isinstance(deployment, LlamaCppDeployment):
        return
    least = needed.cache + needed.engine
    if least > free:
        raise BadInput(
            f"deployment {name!r} needs {least / GIB:.2f} GiB for its caches, and this machine has "
            f"{free / GIB:.2f} GiB free: unload another one, or give it fewer slots, less "
            "context_tokens or a smaller kv_cache.dtype",
            param=f"deployments.{name}",
        )


def _free_bytes() -> int | None:
    """Memory that can be had without swapping, None where the system does not tell."""
    try:
        lines: Mapping[str, str] = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    except OSError:
        return None
    value = lines.get("MemAvailable", "").split()
    return int(value[0]) * 1024 if value else None
