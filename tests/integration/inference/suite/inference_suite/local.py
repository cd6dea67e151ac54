"""llama.cpp in a child process of the service, for tests of what one engine does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import headrace_local
from headrace_inference.adapters.llamacpp.engine import LlamaCppEngine
from headrace_inference.catalogue import pull
from headrace_inference.ports import Generation, Sampling
from headrace_kit.config import Environment
from headrace_kit.config.deployments import LlamaCppDeployment
from headrace_kit.config.loading import load
from headrace_kit.config.snapshot import Snapshot


def weights(deployment: str) -> Path:
    """The GGUF file of a deployment of the default config, fetched where it is not here yet."""
    path = Path(headrace_local.__file__).with_name("headrace.yaml")
    default = Snapshot(load(path), path)
    entry = default.config.deployments[deployment].model
    return pull(default, Environment(), [entry])[entry]["model.gguf"]


def local_engine(files: Mapping[str, Path], **options: Any) -> LlamaCppEngine:
    """An engine that is not loaded; `files` are GGUF files by entry, of which `model` is the model's."""
    config = LlamaCppDeployment.model_validate(
        {"engine": "llamacpp", "model": "model", "context_tokens": 1024, **options}
    )
    return LlamaCppEngine("local", config, lambda entry: {f"{entry}.gguf": files[entry]})


@asynccontextmanager
async def loaded(files: Mapping[str, Path], **options: Any) -> AsyncIterator[LlamaCppEngine]:
    """A loaded engine."""
    engine = local_engine(files, **options)
    try:
        await engine.load()
        yield engine
    finally:
        await engine.close()


def chat(said: str | tuple[dict[str, Any], ...], **more: Any) -> Generation:
    """A greedy request; what `Generation` has goes there, the rest is sampling."""
    own = {name: more.pop(name) for name in ("adapter", "tenant", "want_stats", "max_draft_tokens") if name in more}
    messages = ({"role": "user", "content": said},) if isinstance(said, str) else said
    return Generation(messages=messages, sampling=Sampling(**{"temperature": 0, "max_tokens": 16, **more}), **own)
