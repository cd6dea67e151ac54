"""Connectors: what the config names as sources, opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headrace_kit.config import sources as config
from headrace_kit.config.secrets import Secrets
from headrace_retrieval.adapters.sources.database import DatabaseSource
from headrace_retrieval.adapters.sources.folder import FolderSource
from headrace_retrieval.adapters.sources.web import WebSource
from headrace_retrieval.domain.rights import Acl
from headrace_retrieval.domain.sources import Source, SourceError, Wanted


def wanted(name: str, section: config.DocumentSource, folder: Path, secrets: Secrets, max_bytes: int) -> Wanted:
    """A source as the config names it.

    Args:
        folder: the config file's, that relative paths begin at.
        max_bytes: the largest file that is read.
    """
    acl = None
    if section.acl is not None:
        acl = Acl(tuple(section.acl.users), tuple(section.acl.groups), section.acl.public)
    return Wanted(
        name, section.kind, section.every, acl, section.metadata, _opener(section, folder, secrets, max_bytes)
    )


def _opener(section: config.DocumentSource, folder: Path, secrets: Secrets, max_bytes: int) -> Callable[[], Source]:
    def required(name: str) -> str:
        value = secrets.get(name)
        if value is None:
            raise SourceError(f"the secret {name!r} is missing")
        return value

    def opened() -> Source:
        match section:
            case config.DocumentFolder():
                return FolderSource(folder / section.path, section.include, max_bytes)
            case config.DocumentBucket():
                # Only here: it loads a library of 9 MB that most platforms never need.
                from headrace_retrieval.adapters.sources.bucket import BucketSource, Keys

                keys = None
                if section.access_key is not None and section.secret_key is not None:
                    keys = Keys(required(section.access_key.secret), required(section.secret_key.secret))
                return BucketSource(section, keys, max_bytes)
            case config.DocumentSite():
                return WebSource(section, max_bytes)
            case config.DocumentQuery():
                return DatabaseSource(required(section.dsn.secret), section.query, section.timeout)

    return opened
