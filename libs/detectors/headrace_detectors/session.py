"""Placeholders that stay the same for the same value through a conversation."""

from __future__ import annotations

import secrets
from hashlib import blake2b


class Session:
    """What one conversation's masks share. Pass the same one to each check of it.

    Only keyed digests of the values are kept, under a key that is drawn for this session with the first one. Not
    thread-safe.
    """

    __slots__ = ("_counts", "_key", "_names")

    def __init__(self) -> None:
        self._key = b""
        self._names: dict[bytes, str] = {}
        self._counts: dict[str, int] = {}

    def placeholder(self, kind: str, value: str) -> str:
        """What stands for `value`, for example `[EMAIL_1]`; numbers count up by kind from 1.

        Args:
            kind: what the value is.
            value: in a form that is equal wherever the value is the same.
        """
        self._key = self._key or secrets.token_bytes(16)
        digest = blake2b(f"{kind}\0{value}".encode(errors="replace"), key=self._key, digest_size=16).digest()
        name = self._names.get(digest)
        if name is None:
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            name = self._names[digest] = f"[{kind.upper()}_{count}]"
        return name
