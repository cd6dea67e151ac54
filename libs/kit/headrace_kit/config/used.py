"""Which deployments somebody needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace_kit.config.document import Config
from headrace_kit.config.models import Model

_NAMING = ("models", "guardrails", "collections")
"""Sections that name deployments."""


def stage_deployments(model: Model) -> list[str]:
    """The deployments that a model's stages ask, each once, in their order; fallbacks are not among them."""
    return list(dict.fromkeys(entry.deployment for stage in model.stages for entry in stage.pool))


def used_deployments(config: Config) -> frozenset[str]:
    """The deployments that a model, a policy or a collection names anywhere; also those that merely look like it."""
    said = {text for section in _NAMING for text in texts(config.model_dump(mode="json", include={section}))}
    return frozenset(said & config.deployments.keys())


def texts(tree: Any) -> Iterator[str]:
    """All texts that are values somewhere in a JSON value."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from texts(value)
