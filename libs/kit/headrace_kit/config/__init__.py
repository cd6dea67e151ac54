"""The platform's one typed config: sections, loading with line numbers, hashed snapshots, hot reload."""

from headrace_kit.config.document import Config
from headrace_kit.config.environment import Environment
from headrace_kit.config.load import ConfigInvalid, load, parse
from headrace_kit.config.secrets import Secrets
from headrace_kit.config.snapshot import ConfigStore, Snapshot

__all__ = ["Config", "ConfigInvalid", "ConfigStore", "Environment", "Secrets", "Snapshot", "load", "parse"]
