"""A bucket of S3, or of what speaks like it, as a source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from headrace_kit.config.sources import DocumentBucket
from headrace_retrieval.adapters.sources.folder import included
from headrace_retrieval.domain.sources import Entry, FileContent, SourceError, Unreadable

_PAGE = 1000
_TIMEOUT = timedelta(seconds=60)
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True, slots=True)
class Keys:
    """Access to a bucket."""

    access: str
    secret: str


class BucketSource:
    """`Source` on a bucket; keys are the objects' names without the prefix.

    Args:
        section: which bucket, and where.
        keys: access; None: what the environment gives.
        max_bytes: the largest object that is read.
    """

    def __init__(self, section: DocumentBucket, keys: Keys | None, max_bytes: int) -> None:
        self._section = section
        self._max_bytes = max_bytes
        # A name with dots is no name of a host that a certificate could be for.
        by_host = section.endpoint is None and "." not in section.bucket
        options: dict[str, Any] = {"region": section.region, "virtual_hosted_style_request": by_host}
        if section.endpoint is not None:
            options["endpoint"] = section.endpoint
        if keys is not None:
            options |= {"access_key_id": keys.access, "secret_access_key": keys.secret}
        plain = section.endpoint is not None and section.endpoint.startswith("http://")
        self._store = S3Store(
            section.bucket,
            client_options={"timeout": _TIMEOUT, "allow_http": plain},
            retry_config=_RETRIES,
            **options,
        )

    async def entries(self) -> AsyncIterator[Entry]:
        """See the port."""
        prefix = self._section.prefix
        try:
            # The library lists by folders; a prefix that ends within a name is looked at here.
            folder = prefix.rpartition("/")[0]
            async for part in obstore.list(self._store, folder or None, chunk_size=_PAGE):
                for found in part:
                    path = found["path"]
                    key = path[len(prefix) :]
                    if not path.startswith(prefix) or not key or not included(key, self._section.include):
                        continue
                    changed = found.get("last_modified")
                    version = found.get("e_tag") or f"{changed.isoformat() if changed else ''}-{found['size']}"
                    yield Entry(key, version, partial(self._read, path, found["size"]))
        except (BaseError, OSError):
            raise SourceError(f"the bucket {self._section.bucket!r} cannot be listed: {_HINT}") from None

    async def _read(self, path: str, size: int) -> FileContent:
        if size > self._max_bytes:
            raise Unreadable(f"it is larger than {self._max_bytes} bytes")
        try:
            got = await obstore.get_async(self._store, path)
            content = await got.bytes_async()
        except NotFoundError:
            raise Unreadable("it has gone meanwhile") from None
        except (BaseError, OSError):
            raise SourceError(f"an object of the bucket {self._section.bucket!r} cannot be read: {_HINT}") from None
        return FileContent(bytes(content), path.rpartition("/")[2])


_HINT = "look at its name, endpoint, region and keys"
