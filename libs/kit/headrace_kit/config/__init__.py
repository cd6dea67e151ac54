"""The platform's one typed config: sections, loading with line numbers, hashed snapshots, hot reload.

Names are imported when they are first used: the whole document takes half a second, and a job that only reads a secret
needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace_kit.config.document import Config
    from headrace_kit.config.environment import Environment
    from headrace_kit.config.loading import ConfigInvalid, load, parse
    from headrace_kit.config.secrets import Secrets
    from headrace_kit.config.snapshot import ConfigStore, Snapshot

__all__ = ["Config", "ConfigInvalid", "ConfigStore", "Environment", "Secrets", "Snapshot", "load", "parse"]

_HOMES = {
    "Config": "document",
    "ConfigInvalid": "loading",
    "ConfigStore": "snapshot",
    "Environment": "environment",
    "Secrets": "secrets",
    "Snapshot": "snapshot",
    "load": "loading",
    "parse": "loading",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"headrace_kit.config.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'headrace_kit.config' has no attribute {name!r}")
